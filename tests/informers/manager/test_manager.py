"""The life of an operator: real informers, controllers, events and leases on the simulated API server."""

from __future__ import annotations

import asyncio
import copy
import logging
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from informers.apiserver.core import ApiServer
from informers.apiserver.faults import FaultRule
from informers.cache.packing import PackingOptions
from informers.controller import Controller
from informers.errors import RuntimeFault
from informers.leader import LeaseLost
from informers.objects import ObjectKey, Result
from informers.testing.clock import run_virtual
from tests.informers.manager.operator import (
    CONFIG_MAP,
    EVENT,
    LEASE,
    NAMESPACE,
    SECRET,
    config_map,
    has_secret,
    key,
    operator,
    server,
    started,
    until,
)


def now() -> float:
    return asyncio.get_running_loop().time()


def virtually(scenario: Callable[[ApiServer], Awaitable[None]]) -> None:
    """Run a scenario against a server with one ConfigMap ``a``."""

    async def main() -> None:
        async with server(config_map("a", colour="red")) as core:
            await scenario(core)

    run_virtual(main(), limit=86_400)


def holder(core: ApiServer) -> str:
    lease = core.find(LEASE, key("lock"))
    return str(lease["spec"].get("holderIdentity") or "") if lease else ""


def events(core: ApiServer, reason: str) -> list[Any]:
    return [event for event in core.all(EVENT) if event["reason"] == reason]


def test_what_exists_and_what_comes_is_reconciled_and_then_there_is_silence() -> None:
    async def scenario(core: ApiServer) -> None:
        one = operator(core)
        async with started(one):
            await until(lambda: has_secret(core, "a"))
            core.create(config_map("b", colour="blue"))
            await until(lambda: has_secret(core, "b"))
            await until(lambda: len(events(core, "Copied")) == 2)
            assert one.problems() == dict.fromkeys(one.problems())
            revision, calls = core.store.revision, len(one.copier.calls)
            # Just short of the hour after which the server lets events expire.
            await asyncio.sleep(3500)
            assert core.store.revision == revision
            assert len(one.copier.calls) == calls
            core.delete(SECRET, key("a"))
            await until(lambda: has_secret(core, "a"), within=5)
            text = one.metrics.render().decode()
            assert 'informer_synced{namespaces="",resource="configmaps",selector=""} 1.0' in text
            assert 'informer_objects{namespaces="",resource="secrets",selector=""} 2.0' in text
            assert 'rest_client_requests_total{code="200"' in text

    virtually(scenario)


def test_caches_beyond_their_limit_are_said_to_be_and_work_goes_on() -> None:
    async def scenario(core: ApiServer) -> None:
        one = operator(core, cache_limit=1)
        async with started(one):
            await until(lambda: has_secret(core, "a"))
            await until(lambda: any("the limit is" in str(text) for text in one.problems().values()))
            text = one.metrics.render().decode()
            sizes = re.findall(
                r'cache_bytes{namespaces="",resource="secrets",selector="",state="(\w+)"} ([\d.]+)', text
            )
            assert {state for state, _ in sizes} == {"raw", "compressed", "headers"}
            assert sum(float(size) for _, size in sizes) > 400
            assert "cache_limit_bytes 1.0" in text

    virtually(scenario)


def test_a_change_of_the_watched_object_is_followed_at_once() -> None:
    async def scenario(core: ApiServer) -> None:
        one = operator(core)
        async with started(one):
            await until(lambda: has_secret(core, "a"))
            core.edit(CONFIG_MAP, key("a"), lambda obj: {**obj, "data": {"colour": "green"}})
            await until(lambda: len(one.copier.done) == 2, within=1)

    virtually(scenario)


def test_readiness_names_what_is_missing_and_recovers(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(core: ApiServer) -> None:
        refusal = core.faults.add(FaultRule(resource="secrets", status=403))
        one = operator(core)
        async with started(one):
            await asyncio.sleep(5)
            problems = one.problems()
            assert "403" in (problems["informer/secrets"] or "")
            assert problems["informer/configmaps"] is None
            assert not one.copier.calls, "nothing runs on half a cache"
            await asyncio.sleep(20)
            core.faults.remove(refusal)
            await until(lambda: has_secret(core, "a"))
            assert one.problems() == dict.fromkeys(one.problems())

    virtually(scenario)
    assert any(
        "caches are not synced yet" in r.getMessage() and "secrets" in r.getMessage() for r in caplog.records
    )


def test_an_unreachable_server_is_no_reason_to_restart() -> None:
    async def scenario(core: ApiServer) -> None:
        one = operator(core)
        async with started(one):
            await until(lambda: has_secret(core, "a"))
            core.faults.add(FaultRule(cut="before"))
            await one.manager.client.transport.close()
            await asyncio.sleep(3600)
            assert "no data received for" in (one.problems()["informer/secrets"] or "")
            assert [found for found in one.manager.live.findings() if found.problem] == []
            core.faults.clear()
            await until(lambda: one.problems() == dict.fromkeys(one.problems()))

    virtually(scenario)


def test_a_dead_informer_is_a_reason_to_restart() -> None:
    async def scenario(core: ApiServer) -> None:
        one = operator(core)
        informer = one.manager.informer(SECRET)

        async with started(one):
            await until(lambda: has_secret(core, "a"))
            reflectors = [scope.reflector for scope in informer._scopes.values()]
            await asyncio.sleep(10)
            assert one.manager.live.findings(only=["informer/secrets"])[0].problem is None
            for reflector in reflectors:
                reflector._contact_at = now() - 700
            problem = one.manager.live.findings(only=["informer/secrets"])[0].problem
            assert problem is not None
            assert "no data received for" in problem

    virtually(scenario)


def test_stopping_lets_work_finish_and_tells_the_last_events() -> None:
    async def scenario(core: ApiServer) -> None:
        one = operator(core, pause=5)
        async with started(one):
            await until(lambda: one.copier.calls)
            began = now()
            assert one.task is not None
            one.task.cancel()
            await asyncio.sleep(1)
            assert one.problems()["shutdown"] == "the process is stopping"
            with pytest.raises(asyncio.CancelledError):
                await one.task
            assert now() - began == pytest.approx(5, abs=0.5)
            assert has_secret(core, "a")
            assert events(core, "Copied"), "the event of the last reconcile left as well"

    virtually(scenario)


def test_the_grace_ends_and_a_second_request_ends_it_sooner(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(core: ApiServer) -> None:
        for impatient in (False, True):
            one = operator(core, pause=500)
            async with started(one):
                await until(one.has_begun)
                began = now()
                assert one.task is not None
                one.task.cancel()
                await asyncio.sleep(3)
                if impatient:
                    one.task.cancel()
                await asyncio.wait([one.task])
                assert one.task.cancelled()
                assert now() - began == pytest.approx(3 if impatient else 20, abs=0.5)
        assert not has_secret(core, "a")

    virtually(scenario)
    assert "did not finish in time" in caplog.text


def test_no_task_is_left_behind() -> None:
    async def scenario(core: ApiServer) -> None:
        await asyncio.sleep(1)
        before = asyncio.all_tasks()
        one = operator(core, elect=True)
        async with started(one):
            await until(lambda: has_secret(core, "a"))
        assert asyncio.all_tasks() == before

    virtually(scenario)


# -- election --------------------------------------------------------------------------------------


def test_a_standby_is_ready_and_warm_and_takes_over_when_the_leader_stops() -> None:
    async def scenario(core: ApiServer) -> None:
        one, two = operator(core, "one", elect=True), operator(core, "two", elect=True)
        async with started(one):
            await until(lambda: has_secret(core, "a"))
            async with started(two):
                await asyncio.sleep(30)
                assert holder(core) == "one"
                assert not two.copier.calls
                assert two.problems() == dict.fromkeys(two.problems())
                assert two.copier.maps.get(key("a")) is not None
                master = "leader_election_master_status"
                assert f'{master}{{name="lock"}} 1.0' in one.metrics.render().decode()
                assert f'{master}{{name="lock"}} 0.0' in two.metrics.render().decode()
                await one.stop()
                stopped = now()
                core.create(config_map("b"))
                await until(lambda: has_secret(core, "b"))
                assert now() - stopped < 5, "a released lease need not expire"
        notes = sorted(event["note"] for event in events(core, "LeaderElection"))
        assert "one became leader" in notes
        assert "one stopped leading" in notes
        assert "two became leader" in notes

    virtually(scenario)


def test_the_lease_goes_back_only_after_the_work() -> None:
    async def scenario(core: ApiServer) -> None:
        one = operator(core, elect=True, pause=18)
        two = operator(core, "two", elect=True)
        async with started(one, two):
            await until(lambda: one.copier.calls or two.copier.calls)
            assert holder(core) == "one"
            assert one.task is not None
            one.task.cancel()
            while not one.task.done():
                assert holder(core) == "one", "renewed while draining"
                assert not two.copier.calls
                await asyncio.sleep(0.5)
            assert has_secret(core, "a")
            await until(lambda: two.copier.calls)

    virtually(scenario)


def test_a_lease_is_not_given_back_while_something_may_still_write(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario(core: ApiServer) -> None:
        free = asyncio.Event()
        one = operator(core, elect=True)

        class Stubborn:
            async def reconcile(self, key: ObjectKey) -> Result:
                while not free.is_set():
                    with suppress(asyncio.CancelledError):
                        await free.wait()
                return Result.done()

        controller = Controller("stubborn", Stubborn())
        one.manager.add(controller)
        controller.enqueue(key("x"))
        async with started(one):
            await until(controller.running)
            await one.stop()
            assert holder(core) == "one"
        free.set()
        await asyncio.sleep(1)

    virtually(scenario)
    assert "will expire" in caplog.text


def test_a_lost_lease_cancels_all_work_before_it_can_be_taken_and_ends_the_process() -> None:
    async def scenario(core: ApiServer) -> None:
        one = operator(core, "one", elect=True, pause=500)
        two = operator(core, "two", elect=True)
        async with started(one):
            await until(lambda: one.copier.calls)
            async with started(two):
                await asyncio.sleep(5)
                core.faults.add(FaultRule(user="one", cut="before"))
                assert one.task is not None
                with pytest.raises(RuntimeFault, match="lost the lease default/lock"):
                    await one.task
                assert holder(core) == "one", "nobody could take it yet"
                assert not one.copier.done
                await until(lambda: has_secret(core, "a"))
                assert holder(core) == "two"

    virtually(scenario)


def test_a_lease_lost_while_draining_ends_the_drain() -> None:
    async def scenario(core: ApiServer) -> None:
        one = operator(core, "one", elect=True, pause=500)
        async with started(one):
            await until(lambda: one.copier.calls)
            assert one.task is not None
            one.task.cancel()
            await asyncio.sleep(1)
            lease = core.find(LEASE, key("lock"))
            assert lease is not None
            stolen = copy.deepcopy(lease)
            stolen["spec"]["holderIdentity"] = "thief"
            core.edit(LEASE, key("lock"), lambda obj: {**obj, "spec": stolen["spec"]})
            with pytest.raises(LeaseLost, match="thief"):
                await one.task
            assert now() < 10

    virtually(scenario)


# -- failures ----------------------------------------------------------------------------------------


def test_a_failing_runnable_ends_the_process_with_its_error(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(core: ApiServer) -> None:
        one = operator(core, elect=True)

        async def fail() -> None:
            await asyncio.sleep(10)
            raise ZeroDivisionError("bug")

        one.manager.add_runnable("calculator", fail)
        async with started(one):
            assert one.task is not None
            with pytest.raises(ZeroDivisionError):
                await one.task
            assert holder(core) == "", "given back"

    virtually(scenario)
    assert "calculator failed" in caplog.text


def test_a_runnable_may_end_and_runs_only_while_leading() -> None:
    async def scenario(core: ApiServer) -> None:
        one, two = operator(core, "one", elect=True), operator(core, "two", elect=True)
        ran: list[str] = []

        def once(name: str) -> Callable[[], Awaitable[None]]:
            async def run() -> None:
                ran.append(name)

            return run

        async with started(one):
            one.manager.add_runnable("once", once("one"))
            two.manager.add_runnable("once", once("two"))
            await until(lambda: ran)
            async with started(two):
                await asyncio.sleep(30)
                assert ran == ["one"]
                await one.stop()
                await until(lambda: len(ran) == 2)

    virtually(scenario)


def test_a_failing_worker_ends_the_process() -> None:
    class Fatal(BaseException):
        pass

    async def scenario(core: ApiServer) -> None:
        one = operator(core)

        class Dying:
            async def reconcile(self, key: ObjectKey) -> Result:
                raise Fatal

        controller = Controller("dying", Dying())
        one.manager.add(controller)
        controller.enqueue(key("x"))
        async with started(one):
            assert one.task is not None
            with pytest.raises(Fatal):
                await one.task

    virtually(scenario)


def test_wiring_mistakes_are_found_at_once() -> None:
    async def scenario(core: ApiServer) -> None:
        one = operator(core)
        manager = one.manager
        assert manager.informer(CONFIG_MAP) is manager.informer(CONFIG_MAP, namespaces=())
        assert manager.informer(CONFIG_MAP, namespaces=("x",)) is not manager.informer(CONFIG_MAP)
        with pytest.raises(ValueError, match="indexes"):
            manager.informer(CONFIG_MAP, indexes={"x": lambda view: []})
        with pytest.raises(ValueError, match="packing"):
            manager.informer(CONFIG_MAP, packing=PackingOptions(enabled=False))
        with pytest.raises(ValueError, match="already"):
            manager.add(Controller("copier", one.copier))
        with pytest.raises(RuntimeFault, match="HOST:PORT"):
            operator(core, metrics_address="nonsense")
        async with started(one):
            await until(lambda: one.copier.done)
            with pytest.raises(RuntimeError, match="add everything before"):
                manager.add(Controller("late", one.copier))
            with pytest.raises(RuntimeError, match="add everything before"):
                await manager.run()

    virtually(scenario)


def test_who_asks_first_says_how_a_cache_is_packed() -> None:
    async def scenario(core: ApiServer) -> None:
        for number in range(300):
            core.create(config_map(f"many-{number}", text="the same again and again " * 200))
        sizes = []
        for enabled in (True, False):
            one = operator(core)
            packing = PackingOptions(enabled=enabled)
            maps = one.manager.informer(CONFIG_MAP, namespaces=[NAMESPACE], packing=packing)
            async with started(one):
                await maps.wait_synced()
                await asyncio.sleep(100)
                sizes.append(maps.cache_size())
        assert sizes[0].compressed > 0
        assert (sizes[1].compressed, sizes[1].raw > 2 * sizes[0].total) == (0, True)

    virtually(scenario)


def test_the_log_tells_the_story(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(core: ApiServer) -> None:
        async with started(operator(core, elect=True)):
            await until(lambda: has_secret(core, "a"))

    caplog.set_level(logging.INFO, "informers")
    virtually(scenario)
    story = [record.getMessage() for record in caplog.records]
    wanted = [
        "caches are synced",
        "became leader",
        "stopping; waiting for running reconciles",
        "released the lease",
    ]
    assert [line for line in story if line in wanted] == wanted
