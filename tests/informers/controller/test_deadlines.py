"""Deadlines and cancellation: reconciles that take too long, and the end of a controller."""

from __future__ import annotations

import asyncio

import pytest

from informers.metrics import Metrics
from informers.objects import ObjectKey, Result
from informers.testing.clock import run_virtual
from tests.informers.controller.reconcilers import A, B, C, controller


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
