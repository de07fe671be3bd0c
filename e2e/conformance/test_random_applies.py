"""Server-side apply by random managers: the server under test and the embedded one agree, step by step."""

from __future__ import annotations

import asyncio
import copy
import json
import random
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from informers.apiserver.core import ApiServer
from informers.client import HttpTransport, Transport, load_kubeconfig
from informers.clock import SystemClock
from informers.objects import Object
from informers.testing.transport import ApiServerTransport
from tests.definitions import definition
from tests.hanging import HANGS
from tests.informers.apiserver.scenarios.asking import ask
from tests.informers.apiserver.scenarios.comparing import comparable

NAMESPACE = "random-applies"
GROUP = "applies.example.com"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"

TEXT = {"type": "string"}
PAIR = {"type": "object", "properties": {"x": TEXT, "y": TEXT}}
ENTRY = {"type": "object", "required": ["name"], "properties": {"name": TEXT, "v": TEXT, "w": TEXT}}
KEYED = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
SPEC = {
    "a": TEXT,
    "b": TEXT,
    "filled": {**TEXT, "default": "yes"},
    "deep": PAIR,
    "free": {"type": "object", "additionalProperties": TEXT},
    "whole": {**PAIR, "x-kubernetes-map-type": "atomic"},
    "list": {"type": "array", "items": TEXT},
    "set": {"type": "array", "items": TEXT, "x-kubernetes-list-type": "set"},
    "map": {"type": "array", "items": ENTRY, **KEYED},
}
MIX = definition(
    "Mix",
    GROUP,
    {
        "type": "object",
        "properties": {
            "spec": {"type": "object", "properties": SPEC},
            "status": {"type": "object", "properties": {"a": TEXT, "map": SPEC["map"]}},
        },
    },
    names={"plural": "mixes"},
    subresources={"status": {}},
)

SCALAR = st.sampled_from(["1", "2"])


def fields(**strategies: st.SearchStrategy[Any]) -> st.SearchStrategy[Object]:
    """Any subset of these fields."""
    return st.fixed_dictionaries({}, optional=strategies)


PAIRS = fields(x=SCALAR, y=SCALAR)
ENTRIES = st.lists(
    st.fixed_dictionaries({"name": st.sampled_from("pqr")}, optional={"v": SCALAR, "w": SCALAR}),
    unique_by=lambda one: one["name"],
    max_size=3,
)
MIX_SPECS = fields(
    a=SCALAR,
    b=SCALAR,
    filled=SCALAR,
    deep=PAIRS,
    free=st.dictionaries(st.sampled_from("kl"), SCALAR),
    whole=PAIRS,
    list=st.lists(SCALAR, max_size=2),
    set=st.lists(st.sampled_from("stu"), unique=True, max_size=3),
    map=ENTRIES,
)
LABELS = st.dictionaries(st.sampled_from("kl"), SCALAR)
# Of a custom resource an empty map of labels is kept until the next write of any kind, which then counts as
# a change: an accident nobody relies on.
SOME_LABELS = st.dictionaries(st.sampled_from("kl"), SCALAR, min_size=1)
METADATA = fields(
    labels=SOME_LABELS,
    annotations=SOME_LABELS,
    finalizers=st.lists(st.sampled_from(["x.io/a", "x.io/b"]), unique=True, min_size=1, max_size=2),
    ownerReferences=st.lists(
        st.fixed_dictionaries(
            {
                "apiVersion": st.just("v1"),
                "kind": st.just("ConfigMap"),
                "name": st.sampled_from(["owner-1", "owner-2"]),
            },
            optional={"blockOwnerDeletion": st.booleans()},
        ),
        unique_by=lambda one: one["name"],
        min_size=1,
        max_size=2,
    ),
)
PORTS = st.lists(
    st.fixed_dictionaries(
        {"port": st.sampled_from([80, 81]), "name": st.sampled_from("hg")},
        optional={"protocol": st.sampled_from(["TCP", "UDP"]), "targetPort": st.sampled_from([8080, "web"])},
    ),
    unique_by=lambda one: (one["port"], one.get("protocol", "TCP")),
    min_size=1,
    max_size=2,
)
SERVICE_SPECS = st.fixed_dictionaries(
    # Without a selector it would get addresses of both families, which no cluster here has.
    {"clusterIP": st.just("None"), "ports": PORTS, "selector": SOME_LABELS},
    optional={"publishNotReadyAddresses": st.booleans()},
)


def bodies(kind: str) -> st.SearchStrategy[Object]:
    """Objects of a kind, without their names."""
    metadata = METADATA if kind == "ConfigMap" else fields(labels=SOME_LABELS)
    parts: Mapping[str, st.SearchStrategy[Any]] = {
        "Mix": {"spec": MIX_SPECS, "status": fields(a=SCALAR, map=ENTRIES)},
        "ConfigMap": {"data": LABELS},
        "Service": {"spec": SERVICE_SPECS},
    }[kind]
    required = {name: found for name, found in parts.items() if kind == "Service"}
    optional = {name: found for name, found in parts.items() if kind != "Service"}
    return st.fixed_dictionaries({"metadata": metadata, **required}, optional=optional)


@dataclass(frozen=True)
class Step:
    """One write.

    :param how: ``apply``, ``force``, ``update`` or ``merge``.
    """

    how: str
    manager: str
    body: Object = field(repr=True)
    subresource: str = ""


@st.composite
def stories(draw: st.DrawFn) -> tuple[str, list[Step]]:
    """A kind, and what happens to one object of it."""
    kind = draw(st.sampled_from(["Mix", "Mix", "ConfigMap", "Service"]))
    step = st.builds(
        Step,
        st.sampled_from(["apply", "apply", "force", "force", "update", "merge"]),
        st.sampled_from(["one", "two", "three"]),
        bodies(kind),
        st.sampled_from(["", "", "", "status"] if kind == "Mix" else [""]),
    )
    return kind, draw(st.lists(step, min_size=1, max_size=6))


PATHS = {
    "Mix": (f"{GROUP}/v1", f"/apis/{GROUP}/v1/namespaces/{NAMESPACE}/mixes"),
    "ConfigMap": ("v1", f"/api/v1/namespaces/{NAMESPACE}/configmaps"),
    "Service": ("v1", f"/api/v1/namespaces/{NAMESPACE}/services"),
}


class World:
    """A server, and the one object a story is about."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self._version = ""
        self._owners: dict[str, str] = {}

    async def prepare(self) -> None:
        """The namespace and the custom kind."""
        for path, body in (("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}}), (DEFINITIONS, MIX)):
            code, answer = await ask(self.transport, "POST", path, body=body)
            assert code in (201, 409), answer
        for name in ("owner-1", "owner-2"):
            path = PATHS["ConfigMap"][1]
            await ask(self.transport, "POST", path, body={"metadata": {"name": name}})
            _, owner = await ask(self.transport, "GET", f"{path}/{name}")
            self._owners[name] = owner["metadata"]["uid"]
        async with asyncio.timeout(HANGS):
            while (await ask(self.transport, "GET", PATHS["Mix"][1]))[0] != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.1)

    async def told(self, kind: str, steps: list[Step], name: str) -> list[Object]:
        """The answers, and after each whether anything has changed."""
        self._version = ""
        result = [await self._step(kind, step, name) for step in steps]
        place = f"{PATHS[kind][1]}/{name}"
        await ask(self.transport, "PATCH", place, body={"metadata": {"finalizers": None}}, content_type=MERGE)
        await ask(self.transport, "DELETE", place)
        return result

    async def _step(self, kind: str, step: Step, name: str) -> Object:
        api_version, collection = PATHS[kind]
        place = f"{collection}/{name}"
        body = {"apiVersion": api_version, "kind": kind, **copy.deepcopy(step.body)}
        body["metadata"] |= {"name": name, "namespace": NAMESPACE}
        # An object nobody owns anything of is written anew by every apply; nobody has such objects.
        body["metadata"].setdefault("annotations", {"always": "there"})
        for owner in body["metadata"].get("ownerReferences", ()):
            owner["uid"] = self._owners[owner["name"]]
        query, method, media = {"fieldManager": step.manager}, "PATCH", APPLY
        if step.how in ("apply", "force"):
            query["force"] = str(step.how == "force").lower()
        elif step.how == "merge":
            media = MERGE
        else:
            method, media = "PUT", "application/json"
            code, live = await ask(self.transport, "GET", place)
            if code == 404:
                method, place = "POST", collection
            else:
                # Whoever writes the whole object writes back the metadata it does not care for.
                body["metadata"] = {**live["metadata"], **body["metadata"]}
        if step.subresource and method != "POST":
            place += "/status"
        code, answer = await ask(self.transport, method, place, query, body, media)
        version = answer["metadata"]["resourceVersion"] if code < 400 else self._version
        same, self._version = version == self._version, version
        text = json.dumps(comparable(code, answer), sort_keys=True).replace(name, "NAME")
        for owner, uid in self._owners.items():
            text = text.replace(uid, owner)
        found: Object = json.loads(text)
        # Conflicts are ordered by keys, and so by what every server chooses for itself.
        found["causes"] = sorted(found.get("causes", ()))
        found["message"] = sorted(found.get("message", "").split("\n"))
        # Entries are ordered by the second, which passes where it will.
        metadata = found.get("object", {}).get("metadata", {})
        metadata["managedFields"] = sorted(metadata.get("managedFields", ()), key=json.dumps)
        return {**found, "same": same}


@pytest.fixture(scope="module")
def worlds(server: Path) -> Iterator[tuple[asyncio.Runner, World, World]]:
    """A loop, the server under test, and an embedded one without any network."""
    with asyncio.Runner() as runner:

        async def start() -> tuple[World, World, asyncio.Task[None]]:
            core = ApiServer(SystemClock(), rng=random.Random(3))
            running = asyncio.create_task(core.run())
            http = HttpTransport(load_kubeconfig(str(server)), user_agent="asker")
            tested, ours = World(http), World(ApiServerTransport(core, user_agent="asker"))
            await ours.prepare()
            await tested.prepare()
            return tested, ours, running

        async def stop() -> None:
            running.cancel()
            for path in (f"{DEFINITIONS}/mixes.{GROUP}", f"/api/v1/namespaces/{NAMESPACE}"):
                await ask(tested.transport, "DELETE", path)
            await tested.transport.close()
            await ours.transport.close()

        tested, ours, running = runner.run(start())
        try:
            yield runner, tested, ours
        finally:
            runner.run(stop())


def _both(first: Coroutine[Any, Any, Any], second: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, Any]:
    async def main() -> list[Any]:
        return list(await asyncio.gather(first, second))

    return main()


def test_random_managers(worlds: tuple[asyncio.Runner, World, World], request: pytest.FixtureRequest) -> None:
    runner, tested, ours = worlds
    count = 0

    @given(stories())
    @settings(
        max_examples=int(request.config.getoption("--examples")),
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    def tell(story: tuple[str, list[Step]]) -> None:
        nonlocal count
        count += 1
        kind, steps = story
        name = f"object-{count}"
        theirs, mine = runner.run(_both(tested.told(kind, steps, name), ours.told(kind, steps, name)))
        for step, there, here in zip(steps, theirs, mine, strict=True):
            assert there == here, step

    tell()
