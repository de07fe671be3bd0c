"""What a controller promises its reconciler, shown in virtual time."""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from informers.controller import Controller
from informers.errors import Conflict, Fenced, Terminal
from informers.metrics import Metrics
from informers.objects import ObjectKey, Result
from informers.queue import Priority
from informers.testing.clock import VirtualClock, run_virtual

A, B, C = (ObjectKey("default", name) for name in "abc")


class Calls:
    """A reconciler made of a function; remembers when it was called with what."""

    def __init__(self, act: Callable[[ObjectKey], Awaitable[Result]]) -> None:
        self._act = act
        self.at: list[tuple[float, ObjectKey]] = []

    async def reconcile(self, key: ObjectKey) -> Result:
        self.at.append((asyncio.get_running_loop().time(), key))
        return await self._act(key)

    def of(self, key: ObjectKey) -> list[float]:
        return [when for when, what in self.at if what == key]


def controller(
    act: Callable[[ObjectKey], Awaitable[Result]], *, workers: int = 4, deadline: float = 60.0
) -> tuple[Controller, Calls]:
    calls = Calls(act)
    return Controller("test", calls, workers=workers, deadline=deadline, clock=VirtualClock()), calls


async def nothing(_: ObjectKey) -> Result:
    return Result.done()


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


@pytest.mark.parametrize(
    ("error", "calls_in_a_day"),
    [(ValueError("bug"), (300, 400)), (Conflict(409), (8_000, 12_000)), (Terminal("no"), (1, 1))],
)
def test_errors_are_retried_by_their_class(error: Exception, calls_in_a_day: tuple[int, int]) -> None:
    async def main() -> None:
        async def fail(_: ObjectKey) -> Result:
            raise error

        one, calls = controller(fail)
        running = asyncio.ensure_future(one.run())
        one.enqueue(A)
        await asyncio.sleep(86_400)
        least, most = calls_in_a_day
        assert least <= len(calls.at) <= most
        running.cancel()

    run_virtual(main())


def test_a_failure_keeps_its_deadline_and_a_spec_change_ends_it() -> None:
    async def main() -> None:
        failing = True

        async def maybe(_: ObjectKey) -> Result:
            if failing:
                raise OSError("refused")
            return Result.done()

        one, calls = controller(maybe)
        running = asyncio.ensure_future(one.run())
        one.enqueue(A)
        await asyncio.sleep(1_000)
        before = len(calls.at)
        one.enqueue(A, cause="noise")
        await asyncio.sleep(0.1)
        assert len(calls.at) == before
        failing = False
        one.enqueue(A, priority=Priority.CHANGE)
        await asyncio.sleep(0.1)
        assert len(calls.at) == before + 1
        await asyncio.sleep(10_000)
        assert len(calls.at) == before + 1
        running.cancel()

    run_virtual(main())


def test_the_first_failure_shows_its_stack_and_the_rest_one_line(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async def fail(_: ObjectKey) -> Result:
            raise KeyError("missing")

        one, _ = controller(fail)
        running = asyncio.ensure_future(one.run())
        one.enqueue(A, cause="because")
        await asyncio.sleep(1)
        running.cancel()

    run_virtual(main())
    records = [record for record in caplog.records if "reconcile failed" in record.getMessage()]
    assert records[0].exc_info
    assert not any(record.exc_info for record in records[1:])
    assert len(records) > 3
    assert vars(records[0])["causes"] == "because"
    assert vars(records[0])["key"] == A
    assert records[0].getMessage() == "reconcile failed: KeyError: 'missing'"


def test_conflicts_and_fences_are_no_errors_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async def fail(key: ObjectKey) -> Result:
            raise Conflict(409) if key == A else Fenced("not leading")

        one, _ = controller(fail)
        running = asyncio.ensure_future(one.run())
        one.enqueue(A)
        one.enqueue(B)
        await asyncio.sleep(1)
        running.cancel()

    caplog.set_level(logging.INFO, "informers")
    run_virtual(main())
    assert {record.levelname for record in caplog.records} == {"INFO"}


def test_a_result_of_another_kind_is_an_error_with_a_clear_message(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async def forgot(_: ObjectKey) -> Result:
            return None  # type: ignore[return-value]

        one, _ = controller(forgot)
        running = asyncio.ensure_future(one.run())
        one.enqueue(A)
        await asyncio.sleep(0.001)
        running.cancel()

    run_virtual(main())
    assert "must return a Result, not NoneType" in caplog.text


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -math.inf, "5"])
def test_what_is_no_time_to_wait_is_an_error_of_the_reconcile(
    seconds: float, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async def look_again(_: ObjectKey) -> Result:
            return Result.after(seconds)

        one, calls = controller(look_again)
        running = asyncio.ensure_future(one.run())
        one.enqueue(A)
        await asyncio.sleep(600)
        # Retried with back-off, not lost, and no reason for the worker to end.
        assert len(calls.of(A)) > 10 and not running.done()
        running.cancel()

    run_virtual(main())
    assert "reconcile failed" in caplog.text


def test_the_only_failure_in_a_task_group_is_what_failed(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async def refuse() -> None:
            raise Terminal("no such template")

        async def fail(_: ObjectKey) -> Result:
            async with asyncio.TaskGroup() as outer:

                async def inner() -> None:
                    async with asyncio.TaskGroup() as group:
                        group.create_task(refuse())

                outer.create_task(inner())
            return Result.done()

        one, calls = controller(fail)
        running = asyncio.ensure_future(one.run())
        one.enqueue(A)
        await asyncio.sleep(86_400)
        assert len(calls.of(A)) == 1
        running.cancel()

    run_virtual(main())
    assert "reconcile failed: no such template" in caplog.text


@pytest.mark.parametrize("base", [Exception, Conflict, Terminal])
def test_an_error_that_cannot_say_what_it_is_about_is_an_error_like_any_other(
    base: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    class Mute(base):  # type: ignore[misc, valid-type]
        def __str__(self) -> str:
            raise ValueError("lost for words")

    async def main() -> None:
        async def fail(_: ObjectKey) -> Result:
            raise Mute(409)

        one, _ = controller(fail)
        running = asyncio.ensure_future(one.run())
        one.enqueue(A)
        await asyncio.sleep(1)
        assert not running.done()
        running.cancel()

    caplog.set_level(logging.INFO, "informers")
    run_virtual(main())
    assert "Mute" in caplog.text


def test_the_deadline_cancels_cleanly_frees_the_worker_and_retries() -> None:
    async def main() -> None:
        cleaned: list[float] = []

        async def hang(key: ObjectKey) -> Result:
            if key == B:
                return Result.done()
            try:
                await asyncio.sleep(3600)
            finally:
                cleaned.append(asyncio.get_running_loop().time())
            return Result.done()

        one, calls = controller(hang, workers=1, deadline=30)
        metrics = Metrics(process=False)
        one.measure(metrics)
        running = asyncio.ensure_future(one.run())
        await asyncio.sleep(7)
        one.enqueue(A)
        await asyncio.sleep(1)
        one.enqueue(B)
        await asyncio.sleep(29.1)
        assert cleaned == pytest.approx([37])
        assert calls.of(B) == pytest.approx([37])
        assert len(calls.of(A)) == 2, "retried after the back-off"
        assert 'reconcile_timeouts_total{controller="test"} 1.0' in metrics.render().decode()
        await asyncio.sleep(3600)
        assert one.health() is None
        assert len(calls.of(A)) > 20
        await one.stop(0)
        await running

    run_virtual(main())


@pytest.mark.parametrize("wants_to_fail", [True, False])
def test_a_cancellation_at_the_deadline_counts_whatever_becomes_of_it(wants_to_fail: bool) -> None:
    async def main() -> None:
        async def convert(_: ObjectKey) -> Result:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                if wants_to_fail:
                    raise ValueError("gave up") from None
            return Result.done()

        one, _ = controller(convert, deadline=10)
        metrics = Metrics(process=False)
        one.measure(metrics)
        running = asyncio.ensure_future(one.run())
        one.enqueue(A)
        await asyncio.sleep(10.1)
        text = metrics.render().decode()
        assert 'reconcile_timeouts_total{controller="test"} 1.0' in text
        assert f'reconcile_errors_total{{controller="test"}} {float(wants_to_fail)}' in text
        running.cancel()

    run_virtual(main())


def test_a_reconcile_that_ignores_its_cancellation_is_replaced_and_shown() -> None:
    async def main() -> None:
        free = asyncio.Event()

        async def stubborn(key: ObjectKey) -> Result:
            while key == A and not free.is_set():
                try:
                    await free.wait()
                except asyncio.CancelledError:
                    continue
            return Result.done()

        one, calls = controller(stubborn, workers=1, deadline=30)
        metrics = Metrics(process=False)
        one.measure(metrics)
        running = asyncio.ensure_future(one.run())
        one.enqueue(A)
        await asyncio.sleep(1)
        one.enqueue(B)
        await asyncio.sleep(40)
        assert calls.of(B) == pytest.approx([35])
        assert 'controller_runtime_stuck_reconciles{controller="test"} 1.0' in metrics.render().decode()
        assert one.health() is None, "no alarm before a minute beyond the deadline"
        await asyncio.sleep(60)
        assert "default/a" in (one.health() or "")
        free.set()
        await asyncio.sleep(1)
        assert one.health() is None
        assert 'controller_runtime_stuck_reconciles{controller="test"} 0.0' in metrics.render().decode()
        for key in (A, B, C):
            one.enqueue(key)
        await asyncio.sleep(1)
        assert len(calls.at) == 5
        assert len([task for task in asyncio.all_tasks() if "worker" in task.get_name()]) == 1
        await one.stop(1)
        await running

    run_virtual(main())


def test_a_cancellation_from_inside_does_not_end_the_worker() -> None:
    async def main() -> None:
        async def wait_for_a_cancelled_task(key: ObjectKey) -> Result:
            if key == A:
                task = asyncio.ensure_future(asyncio.sleep(10))
                asyncio.get_running_loop().call_later(1, task.cancel)
                await task
            return Result.done()

        one, calls = controller(wait_for_a_cancelled_task, workers=1)
        running = asyncio.ensure_future(one.run())
        one.enqueue(A)
        await asyncio.sleep(2)
        one.enqueue(B)
        await asyncio.sleep(2)
        assert calls.of(B)
        running.cancel()

    run_virtual(main())


@pytest.mark.parametrize("caught", [True, False])
def test_a_reconcile_that_cancels_itself_does_not_end_the_worker(
    caught: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """As timeouts were made before there were any, and what comes after is told apart all the same."""

    async def main() -> None:
        async def time_out(_: ObjectKey) -> Result:
            task = asyncio.current_task()
            assert task is not None
            asyncio.get_running_loop().call_soon(task.cancel)
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                if not caught:
                    raise
            await asyncio.sleep(3600)
            return Result.done()

        one, calls = controller(time_out, workers=1, deadline=10)
        running = asyncio.ensure_future(one.run())
        one.enqueue(A)
        await asyncio.sleep(3600)
        assert len(calls.of(A)) > 10 and not running.done()
        running.cancel()

    run_virtual(main())
    assert ("longer than 10 s" if caught else "was cancelled") in caplog.text


def test_stopping_lets_running_ones_finish_and_drops_what_is_queued() -> None:
    async def main() -> None:
        finished: list[ObjectKey] = []

        async def slowly(key: ObjectKey) -> Result:
            await asyncio.sleep(5 if key == A else 100)
            finished.append(key)
            return Result.after(1)

        one, calls = controller(slowly, workers=2)
        running = asyncio.ensure_future(one.run())
        for key in (A, B, C):
            one.enqueue(key)
            await asyncio.sleep(0.1)
        assert await one.stop(20) == [B]
        await running
        assert asyncio.get_running_loop().time() == pytest.approx(20.3)
        assert finished == [A]
        assert not calls.of(C)

    run_virtual(main())


def test_cancelling_run_ends_everything_at_once() -> None:
    async def main() -> None:
        async def hang(_: ObjectKey) -> Result:
            await asyncio.sleep(100)
            return Result.done()

        one, _ = controller(hang)
        running = asyncio.ensure_future(one.run())
        one.enqueue(A)
        await asyncio.sleep(1)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert asyncio.get_running_loop().time() == pytest.approx(1)
        assert len(asyncio.all_tasks()) == 1

    run_virtual(main())


def test_stubborn_workers_do_not_hold_up_the_end(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        free = asyncio.Event()

        async def stubborn(_: ObjectKey) -> Result:
            while not free.is_set():
                try:
                    await free.wait()
                except asyncio.CancelledError:
                    continue
            return Result.done()

        one, _ = controller(stubborn)
        running = asyncio.ensure_future(one.run())
        one.enqueue(A)
        await asyncio.sleep(1)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        free.set()
        await asyncio.sleep(0)

    run_virtual(main(), limit=10)
    assert "the process stops without it" in caplog.text


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


def test_what_is_no_exception_ends_run_with_it() -> None:
    class Fatal(BaseException):
        pass

    async def main() -> None:
        async def die(_: ObjectKey) -> Result:
            raise Fatal

        one, _ = controller(die)
        one.enqueue(A)
        with pytest.raises(Fatal):
            await one.run()

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
