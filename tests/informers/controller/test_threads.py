"""Blocking reconcilers: real threads, real time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError

import pytest

from informers.controller import Controller, block_on
from informers.objects import ObjectKey, Result
from tests.hanging import HANGS

A, B = ObjectKey("default", "a"), ObjectKey("default", "b")


async def eventually(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(HANGS):
        while not what():  # noqa: ASYNC110 - threads set no asyncio event
            await asyncio.sleep(0.01)


async def test_a_plain_function_runs_beside_the_event_loop() -> None:
    barrier = threading.Barrier(2, timeout=HANGS)
    threads: list[threading.Thread] = []

    class Blocking:
        def reconcile(self, key: ObjectKey) -> Result:
            threads.append(threading.current_thread())
            barrier.wait()
            return Result.done()

    controller = Controller("blocking", Blocking(), workers=2)
    running = asyncio.create_task(controller.run())
    controller.enqueue(A)
    controller.enqueue(B)
    # Two threads only pass the barrier together.
    await eventually(lambda: len(threads) == 2 and not controller.running())
    assert threading.main_thread() not in threads
    await controller.stop(10)
    await running


async def test_a_thread_that_overruns_frees_its_worker_but_keeps_its_key() -> None:
    free = threading.Event()
    calls: list[ObjectKey] = []

    class Blocking:
        def reconcile(self, key: ObjectKey) -> Result:
            calls.append(key)
            if key == A and not free.wait(20):
                raise TimeoutError
            return Result.done()

    controller = Controller("blocking", Blocking(), workers=1, deadline=0.2)
    running = asyncio.create_task(controller.run())
    controller.enqueue(A)
    await eventually(lambda: calls == [A])
    controller.enqueue(B)
    await eventually(lambda: B in calls)
    assert not free.is_set()
    controller.enqueue(A)
    controller.enqueue(B)
    await eventually(lambda: calls.count(B) == 2)
    assert calls.count(A) == 1, "one key is never in two threads"
    free.set()
    await eventually(lambda: calls.count(A) == 2)
    await controller.stop(10)
    await running


async def test_an_iterator_that_ends_in_a_thread_is_an_error_at_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Blocking:
        def reconcile(self, key: ObjectKey) -> Result:
            return next(iter(()))

    controller = Controller("blocking", Blocking(), workers=1, deadline=600)
    running = asyncio.create_task(controller.run())
    controller.enqueue(A)
    await eventually(lambda: "reconcile raised StopIteration" in caplog.text)
    await controller.stop(10)
    await running


async def test_a_controller_whose_threads_are_all_left_behind_wants_a_restart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("informers.controller.threads._SPARE", 1)
    free = threading.Event()

    class Blocking:
        def reconcile(self, key: ObjectKey) -> Result:
            if not free.wait(20):
                raise TimeoutError
            return Result.done()

    controller = Controller("blocking", Blocking(), workers=1, deadline=0.05)
    running = asyncio.create_task(controller.run())
    controller.enqueue(A)
    await eventually(lambda: controller._stuck() == 1)
    assert controller.health() is None, "there is a spare thread"
    controller.enqueue(B)
    await eventually(lambda: controller.health() is not None)
    assert controller.health() == "2 threads have not returned, and none is left to run anything"
    free.set()
    await eventually(lambda: controller.health() is None)
    await controller.stop(10)
    await running


async def test_a_plain_function_waits_for_coroutines_of_the_loop() -> None:
    home = threading.get_ident()
    answers: list[object] = []

    async def where(fails: bool) -> int:
        await asyncio.sleep(0)
        if fails:
            raise LookupError("not there")
        return threading.get_ident()

    class Blocking:
        def reconcile(self, _: ObjectKey) -> Result:
            answers.append(block_on(where(fails=False)))
            try:
                block_on(where(fails=True))
            except LookupError as error:
                answers.append(str(error))
            return Result.done()

    controller = Controller("blocking", Blocking())
    running = asyncio.create_task(controller.run())
    controller.enqueue(A)
    await eventually(lambda: len(answers) == 2 and not controller.running())
    assert answers == [home, "not there"]
    with pytest.raises(RuntimeError, match="await it here"):
        block_on(where(fails=False))
    await controller.stop(10)
    await running


async def test_what_a_plain_function_waits_for_must_not_wait_the_same_way() -> None:
    """It runs in the loop, which would wait for itself."""
    answers: list[str] = []

    async def nothing() -> None: ...

    async def helper() -> None:
        block_on(nothing())

    class Blocking:
        def reconcile(self, _: ObjectKey) -> Result:
            try:
                block_on(helper())
            except RuntimeError as error:
                answers.append(str(error))
            return Result.done()

    controller = Controller("blocking", Blocking())
    running = asyncio.create_task(controller.run())
    controller.enqueue(A)
    await eventually(lambda: bool(answers))
    assert "await it here" in answers[0]
    await controller.stop(10)
    await running


async def test_a_thread_past_its_deadline_does_not_go_on_waiting() -> None:
    ended: list[type[BaseException]] = []

    class Blocking:
        def reconcile(self, _: ObjectKey) -> Result:
            try:
                block_on(asyncio.sleep(3600))
            except BaseException as error:
                ended.append(type(error))
                raise
            return Result.done()

    controller = Controller("blocking", Blocking(), workers=1, deadline=0.1)
    running = asyncio.create_task(controller.run())
    controller.enqueue(A)
    await eventually(lambda: len(ended) >= 2)
    assert set(ended) == {CancelledError}
    await controller.stop(0)
    await running
    await eventually(lambda: controller.idle)


async def test_a_key_is_not_free_before_what_its_thread_waits_for_has_ended() -> None:
    free = asyncio.Event()
    begun = ended = 0

    async def clean_up_slowly() -> None:
        nonlocal begun, ended
        begun += 1
        try:
            await asyncio.sleep(3600)
        finally:
            await free.wait()
            ended += 1

    class Blocking:
        def reconcile(self, _: ObjectKey) -> Result:
            block_on(clean_up_slowly())
            return Result.done()

    controller = Controller("blocking", Blocking(), workers=1, deadline=0.05)
    running = asyncio.create_task(controller.run())
    controller.enqueue(A)
    await eventually(lambda: controller._stuck() == 1)
    controller.enqueue(A)
    assert await controller.stop(0) == []
    assert begun == 1 and not controller.idle
    free.set()
    await eventually(lambda: controller.idle)
    assert ended == 1
    await running
