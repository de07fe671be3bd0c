"""Whatever server and network do meanwhile: when it is over, the world is as asked for, and silent."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from informers.apiserver.core import ApiServer
from informers.apiserver.faults import FaultRule
from informers.testing.clock import run_virtual
from tests.informers.manager.operator import (
    CONFIG_MAP,
    NAMESPACE,
    SECRET,
    config_map,
    key,
    operator,
    server,
    started,
    until,
)

NAMES = ("a", "b", "c")


@dataclass(frozen=True)
class Act:
    """What somebody does to one ConfigMap or its Secret, and the seconds until the next does something."""

    what: str
    name: str
    pause: float


ACTS = st.lists(
    st.builds(
        Act,
        st.sampled_from(["write", "write", "delete", "remove copy"]),
        st.sampled_from(NAMES),
        st.sampled_from([0.0, 0.01, 1.0, 30.0]),
    ),
    min_size=1,
    max_size=15,
)
FAULTS = st.lists(
    st.builds(
        FaultRule,
        verb=st.sampled_from(["", "list", "watch", "patch", "update", "create"]),
        resource=st.sampled_from(["", "configmaps", "secrets", "leases"]),
        probability=st.sampled_from([0.2, 0.6]),
        times=st.integers(1, 10),
        status=st.sampled_from([0, 0, 409, 410, 429, 500, 503]),
        cut=st.sampled_from(["", "before", "after"]),
        delay=st.sampled_from([0.0, 0.5, 7.0]),
    ),
    max_size=4,
)


def act(core: ApiServer, one: Act, serial: int) -> None:
    """Do it as a user would, past every fault."""
    exists = core.find(CONFIG_MAP, key(one.name)) is not None
    if one.what == "write" and not exists:
        core.create(config_map(one.name, serial=str(serial)))
    elif one.what == "write":
        core.edit(CONFIG_MAP, key(one.name), lambda obj: {**obj, "data": {"serial": str(serial)}})
    elif one.what == "delete" and exists:
        core.delete(CONFIG_MAP, key(one.name))
    elif one.what == "remove copy" and core.find(SECRET, key(one.name)) is not None:
        core.delete(SECRET, key(one.name))


def converged(core: ApiServer) -> bool:
    """Every ConfigMap has its Secret with its data; garbage collection took the others."""
    wanted = {
        obj["metadata"]["name"]: str(sorted((obj.get("data") or {}).items()))
        for obj in core.all(CONFIG_MAP)
        if obj["metadata"]["namespace"] == NAMESPACE and obj["metadata"]["name"] in NAMES
    }
    found = {
        obj["metadata"]["name"]: obj["metadata"]["annotations"]["copied"]
        for obj in core.all(SECRET)
        if obj["metadata"]["namespace"] == NAMESPACE
    }
    return wanted == found


@settings(max_examples=25)
@given(acts=ACTS, faults=FAULTS, elect=st.booleans())
def test_it_converges_and_falls_silent(acts: list[Act], faults: list[FaultRule], elect: bool) -> None:
    async def main() -> None:
        async with server(config_map("a")) as core:
            for fault in faults:
                fault.hits = 0
                core.faults.add(fault)
            one = operator(core, elect=elect)
            async with started(one):
                for serial, step in enumerate(acts):
                    act(core, step, serial)
                    await asyncio.sleep(step.pause)
                core.faults.clear()
                # A request that is on its way, late, may cost the lease yet.
                await asyncio.sleep(30)
                assert one.task is not None
                if one.task.done():
                    # Too much for the lease. The next process takes over from there.
                    one = operator(core, "two", elect=elect)
                    async with started(one):
                        await judge(core)
                else:
                    await judge(core)

    async def judge(core: ApiServer) -> None:
        await until(lambda: converged(core), within=600)
        await asyncio.sleep(600)
        revision = core.revision_of("configmaps", "secrets")
        await asyncio.sleep(1_000)
        assert converged(core)
        assert core.revision_of("configmaps", "secrets") == revision

    run_virtual(main(), limit=86_400)
