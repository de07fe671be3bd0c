"""What a controller promises its reconciler, shown in virtual time."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter

import pytest

from informers.controller import Controller
from informers.errors import Terminal
from informers.metrics import Metrics
from informers.objects import ObjectKey, Result
from informers.testing.clock import VirtualClock, run_virtual
from tests.informers.controller.reconcilers import A, B, C, Calls, controller, nothing


def test_reconciles_what_is_queued_and_stops() -> None:
    async def main() -> None:
        one, calls = controller(nothing)
        running = asyncio.ensure_future(one.run())
        for key in (A, B, A):
            one.enqueue(key, cause="test")
        await asyncio.sleep(1)
        assert sorted(key for _, key in calls.at) == [A, B]
        assert await one.stop(10) == []
        await running
        one.enqueue(C)
        assert len(asyncio.all_tasks()) == 1
        assert len(calls.at) == 2

    run_virtual(main())


def test_workers_run_side_by_side_but_never_on_one_key() -> None:
    async def main() -> None:
        at_work: Counter[ObjectKey] = Counter()
        most = most_of_one = 0

        async def slowly(key: ObjectKey) -> Result:
            nonlocal most, most_of_one
            at_work[key] += 1
            # What is raised here is a failed reconcile and no failed test.
            most, most_of_one = max(most, at_work.total()), max(most_of_one, at_work[key])
            await asyncio.sleep(1)
            at_work[key] -= 1
            return Result.done()

        one, calls = controller(slowly, workers=2)
        running = asyncio.ensure_future(one.run())
        for _ in range(10):
            for key in (A, B, C):
                one.enqueue(key)
            await asyncio.sleep(0.3)
        await asyncio.sleep(10)
        assert (most, most_of_one) == (2, 1)
        assert {key for _, key in calls.at} == {A, B, C}
        running.cancel()

    run_virtual(main())


def test_requeue_after_and_an_event_that_comes_before() -> None:
    async def main() -> None:
        async def again(_: ObjectKey) -> Result:
            return Result.after(10)

        one, calls = controller(again)
        running = asyncio.ensure_future(one.run())
        one.enqueue(A)
        await asyncio.sleep(25)
        assert calls.of(A) == pytest.approx([0, 10, 20])
        one.enqueue(A)
        await asyncio.sleep(9.9)
        assert calls.of(A) == pytest.approx([0, 10, 20, 25])
        running.cancel()

    run_virtual(main())


def test_reconciles_that_never_wait_leave_room_for_others() -> None:
    async def main() -> None:
        turns = 0

        async def at_once(_: ObjectKey) -> Result:
            return Result.after(0)

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        one, calls = controller(at_once)
        running = asyncio.ensure_future(one.run())
        other = asyncio.ensure_future(others())
        for key in (A, B, C):
            one.enqueue(key)
        while len(calls.at) < 20_000:  # noqa: ASYNC110 - the point is to take turns
            await asyncio.sleep(0)
        assert turns > 10
        running.cancel()
        other.cancel()

    run_virtual(main())


def test_a_resync_looks_at_every_key_and_never_fills_the_queue() -> None:
    async def main() -> None:
        async def slow(_: ObjectKey) -> Result:
            await asyncio.sleep(0.1)
            return Result.done()

        one, calls = controller(slow)
        running = asyncio.ensure_future(one.run())
        keys = [ObjectKey("n", f"k{number}") for number in range(1_000)]
        most = 0

        async def watch() -> None:
            nonlocal most
            while True:
                most = max(most, sum(one.queue.statistics().ready.values()))
                await asyncio.sleep(0.05)

        watching = asyncio.ensure_future(watch())
        await one.resync(keys, ahead=50)
        await asyncio.sleep(10)
        watching.cancel()
        assert [key for _, key in calls.at] == keys
        assert 0 < most <= 50
        endless = asyncio.ensure_future(one.resync(itertools.cycle(keys), ahead=50))
        await asyncio.sleep(1)
        assert await one.stop(10) == []
        await running
        await endless

    run_virtual(main())


def test_an_idle_controller_sleeps() -> None:
    class CountingClock(VirtualClock):
        looks = 0

        def monotonic(self) -> float:
            self.looks += 1
            return super().monotonic()

    async def main() -> None:
        clock = CountingClock()
        one = Controller("idle", Calls(nothing), clock=clock)
        running = asyncio.ensure_future(one.run())
        await asyncio.sleep(86_400)
        assert clock.looks < 2_000, "about one look per deadline"
        running.cancel()

    run_virtual(main())


def test_the_metrics_have_the_names_of_the_field() -> None:
    async def main() -> bytes:
        async def act(key: ObjectKey) -> Result:
            await asyncio.sleep(0.2)
            if key == B:
                raise Terminal("no")
            return Result.after(100) if key == C else Result.done()

        metrics = Metrics(process=False)
        one, _ = controller(act)
        one.measure(metrics)
        running = asyncio.ensure_future(one.run())
        for key in (A, B, C):
            one.enqueue(key)
        await asyncio.sleep(1)
        one.enqueue(A)
        await asyncio.sleep(0.1)
        running_now = metrics.render()
        running.cancel()
        return running_now

    text = run_virtual(main()).decode()
    for line in (
        'controller_runtime_reconcile_total{controller="test",result="success"} 1.0',
        'controller_runtime_reconcile_total{controller="test",result="error"} 1.0',
        'controller_runtime_reconcile_total{controller="test",result="requeue_after"} 1.0',
        'controller_runtime_reconcile_total{controller="test",result="requeue"} 0.0',
        'controller_runtime_reconcile_errors_total{controller="test"} 1.0',
        'controller_runtime_terminal_reconcile_errors_total{controller="test"} 1.0',
        'controller_runtime_reconcile_time_seconds_bucket{controller="test",le="0.15"} 0.0',
        'controller_runtime_reconcile_time_seconds_count{controller="test"} 3.0',
        'controller_runtime_active_workers{controller="test"} 1.0',
        'controller_runtime_max_concurrent_reconciles{controller="test"} 4.0',
        'workqueue_adds_total{controller="test",name="test"} 4.0',
        'workqueue_retries_total{controller="test",name="test"} 0.0',
        'workqueue_depth{controller="test",name="test",priority="change"} 0.0',
        'workqueue_queue_duration_seconds_count{controller="test",name="test"} 4.0',
        'workqueue_work_duration_seconds_count{controller="test",name="test"} 3.0',
    ):
        assert f"{line}\n" in text, line
    for name in ("longest_running_processor", "unfinished_work"):
        assert f'workqueue_{name}_seconds{{controller="test",name="test"}} 0.1' in text
