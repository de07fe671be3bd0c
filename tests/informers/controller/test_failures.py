"""Reconciles that fail: when they are tried again, and what the log says."""

from __future__ import annotations

import asyncio
import logging
import math

import pytest

from informers.errors import Conflict, Fenced, Terminal
from informers.objects import ObjectKey, Result
from informers.queue import Priority
from informers.testing.clock import run_virtual
from tests.informers.controller.reconcilers import A, B, controller


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
