"""What the queue promises, shown one promise at a time in virtual time."""

from __future__ import annotations

import asyncio
import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from informers.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    Invalid,
    ServerError,
    Terminal,
    TooManyRequests,
    TransportError,
    Unauthorized,
)
from informers.objects import ObjectKey
from informers.queue import Backoff, Priority, QueueClosed, WorkQueue
from informers.queue.backoff import ErrorClass, classify
from informers.queue.work import PATIENCE
from informers.testing.clock import VirtualClock, run_virtual

A, B, C = (ObjectKey("default", name) for name in "abc")


def queue() -> WorkQueue:
    return WorkQueue(clock=VirtualClock(), rng=random.Random(1))


async def taken_at(work: WorkQueue) -> tuple[ObjectKey, object]:
    got = await work.get()
    return got.key, asyncio.get_running_loop().time()


def test_adds_coalesce_and_keep_their_causes() -> None:
    async def main() -> None:
        work = queue()
        work.add(A, cause="one")
        work.add(A, cause="two")
        work.add(A, cause="one")
        got = await work.get()
        assert (got.key, got.causes) == (A, ("one", "two"))
        assert work.get_nowait() is None

    run_virtual(main())


def test_causes_are_bounded() -> None:
    async def main() -> None:
        work = queue()
        for number in range(1000):
            work.add(A, cause=str(number))
        got = await work.get()
        assert len(got.causes) == 9
        assert got.causes[-1] == "more"

    run_virtual(main())


def test_a_key_in_work_is_not_handed_out_and_runs_once_more_after() -> None:
    async def main() -> None:
        work = queue()
        work.add(A)
        await work.get()
        work.add(A, cause="meanwhile")
        work.add(A, cause="and again")
        assert work.get_nowait() is None
        work.done(A)
        got = await work.get()
        assert got.causes == ("meanwhile", "and again")
        work.done(A)
        assert work.get_nowait() is None

    run_virtual(main())


def test_urgent_keys_go_first_but_patience_ends() -> None:
    async def main() -> None:
        work = queue()
        work.add(A, priority=Priority.INITIAL)
        work.add(B, priority=Priority.RETRY)
        work.add(C, priority=Priority.DELETION)
        assert [(await work.get()).key for _ in range(3)] == [C, B, A]
        for key in (A, B, C):
            work.done(key)
        work.add(A, priority=Priority.INITIAL)
        await asyncio.sleep(61)
        work.add(B, priority=Priority.DELETION)
        assert (await work.get()).key == A

    run_virtual(main())


def test_a_ready_key_rises_with_a_more_urgent_cause() -> None:
    async def main() -> None:
        work = queue()
        work.add(A, priority=Priority.EVENT)
        work.add(B, priority=Priority.INITIAL)
        work.add(B, priority=Priority.CHANGE)
        assert (await work.get()).key == B

    run_virtual(main())


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.0, 1.0, 4.0, 20.0]),
            st.none() | st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(list(Priority))),
        ),
        max_size=60,
    )
)
def test_the_order_is_that_of_moment_and_patience(
    steps: list[tuple[float, tuple[str, Priority] | None]],
) -> None:
    """Against a list that is searched for the lowest rank every time."""

    async def main() -> None:
        work = queue()
        ranks: dict[ObjectKey, float] = {}
        known: dict[ObjectKey, tuple[float, Priority]] = {}

        def take() -> None:
            got = work.get_nowait()
            if got is None:
                assert not ranks
                return
            # Among equals any may be the first.
            assert ranks.pop(got.key) <= min(ranks.values(), default=float("inf"))
            del known[got.key]
            work.done(got.key)

        for pause, added in steps:
            await asyncio.sleep(pause)
            if added is None:
                take()
                continue
            key, priority = ObjectKey("n", added[0]), added[1]
            work.add(key, priority=priority)
            since, before = known.get(key, (asyncio.get_running_loop().time(), None))
            if before is None or priority < before:
                known[key] = since, priority
                ranks[key] = since + PATIENCE[priority]
        while ranks:
            take()

    run_virtual(main())


def test_what_is_equally_urgent_comes_in_the_order_in_which_it_was_asked_for() -> None:
    async def main() -> None:
        work = queue()
        names = ["c", "a", "d", "b"]
        for name in names:
            work.add(ObjectKey("n", name), priority=Priority.EVENT)
        got = [one for _ in names if (one := work.get_nowait()) is not None]
        assert [one.key.name for one in got] == names
        assert len({one.number for one in got}) == len(names), "every work is told from every other"

    run_virtual(main())


def test_the_earliest_delay_counts_and_an_add_comes_before_it() -> None:
    async def main() -> None:
        work = queue()
        work.add_after(A, 60)
        work.add_after(A, 20)
        work.add_after(A, 40)
        assert await taken_at(work) == (A, pytest.approx(20))
        work.done(A)
        work.add_after(A, 60)
        work.add(A)
        assert await taken_at(work) == (A, pytest.approx(20))
        work.done(A)
        await asyncio.sleep(1000)
        assert work.get_nowait() is None, "the delayed wish was fulfilled by the earlier one"

    run_virtual(main())


def test_one_delay_after_the_other_comes_up_in_its_time() -> None:
    async def main() -> None:
        work = queue()
        for key, seconds in ((B, 40), (A, 20), (C, 60)):
            work.add_after(key, seconds)
        for expected in ((A, 20), (B, 40), (C, 60)):
            assert await taken_at(work) == (expected[0], pytest.approx(expected[1]))

    run_virtual(main())


def test_backoff_doubles_to_its_limit_and_success_resets_it() -> None:
    async def main() -> None:
        work = queue()
        delays = []
        for _ in range(25):
            work.add(A, priority=Priority.EVENT)
            await work.get()
            delays.append(work.retry(A, TransportError("refused")) or 0.0)
            work.done(A)
            await asyncio.sleep(400)
        assert 0.004 <= delays[0] <= 0.005
        assert all(later > earlier for earlier, later in itertools.pairwise(delays[:15]))
        assert 240 <= delays[-1] <= 300
        assert max(delays) <= 300
        await work.get()
        work.forget(A)
        first = work.retry(A, TransportError("refused"))
        assert first is not None
        assert first <= 0.005
        work.done(A)

    run_virtual(main())


def fail(work: WorkQueue, key: ObjectKey, times: int) -> float:
    """Let a key fail so often in a row; the delay of the last failure."""
    delay = 0.0
    for _ in range(times):
        delay = work.retry(key, TransportError("refused")) or 0.0
    return delay


def test_events_do_not_cut_a_backoff_short_but_a_change_does() -> None:
    async def main() -> None:
        work = queue()
        work.add(A)
        await work.get()
        delay = fail(work, A, 12)
        work.done(A)
        for _ in range(100):
            work.add(A, priority=Priority.EVENT, cause="noise")
            work.add_after(A, delay / 2, cause="noise")
        assert await taken_at(work) == (A, pytest.approx(delay))
        fail(work, A, 1)
        work.done(A)
        work.add(A, priority=Priority.CHANGE)
        got = work.get_nowait()
        assert got is not None
        assert got.failures == 0

    run_virtual(main())


def test_a_change_during_the_failing_work_is_tried_at_once() -> None:
    async def main() -> None:
        work = queue()
        work.add(A)
        await work.get()
        work.add(A, priority=Priority.CHANGE)
        assert work.retry(A, TransportError("refused")) is None
        work.done(A)
        assert work.get_nowait() is not None

    run_virtual(main())


def test_an_event_during_the_failing_work_waits_for_the_backoff() -> None:
    async def main() -> None:
        work = queue()
        work.add(A)
        await work.get()
        work.add(A, priority=Priority.EVENT)
        delay = fail(work, A, 10)
        work.done(A)
        assert work.get_nowait() is None
        assert await taken_at(work) == (A, pytest.approx(delay))

    run_virtual(main())


def test_terminal_errors_wait_for_a_change() -> None:
    async def main() -> None:
        work = queue()
        work.add(A)
        await work.get()
        assert work.retry(A, Terminal("never")) is None
        work.done(A)
        await asyncio.sleep(86_400)
        assert work.get_nowait() is None
        work.add(A, priority=Priority.EVENT)
        assert work.get_nowait() is not None

    run_virtual(main())


def test_delays_by_error() -> None:
    backoff = Backoff(random.Random(0))
    throttled = backoff.delay(TooManyRequests(429, retry_after=30), 1)
    assert throttled is not None
    assert 30 <= throttled <= 36
    conflict = [backoff.delay(Conflict(409), n) or 0 for n in (1, 5, 30)]
    assert conflict[0] <= 0.005
    assert conflict[2] <= 10
    forbidden = backoff.delay(Forbidden(403), 1)
    assert forbidden is not None
    assert 0.8 <= forbidden <= 1


def test_keys_that_failed_together_are_tried_apart() -> None:
    backoff = Backoff(random.Random(0))
    delays = [backoff.delay(TransportError("gone"), 10) or 0 for _ in range(20)]
    assert len(set(delays)) == 20
    full = 0.005 * 2**9
    assert full * 0.8 <= min(delays) < max(delays) <= full


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Terminal("never"), ErrorClass.TERMINAL),
        (Conflict(409), ErrorClass.CONFLICT),
        (TooManyRequests(429), ErrorClass.THROTTLED),
        (ServerError(503, retry_after=0), ErrorClass.THROTTLED),
        (ServerError(500), ErrorClass.TRANSIENT),
        (Forbidden(403), ErrorClass.REFUSED),
        (Unauthorized(401), ErrorClass.REFUSED),
        (Invalid(422), ErrorClass.INVALID),
        (BadRequest(400), ErrorClass.INVALID),
        (TransportError("refused"), ErrorClass.TRANSIENT),
        (KeyError("a defect"), ErrorClass.TRANSIENT),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, Exception) else one.value,
)
def test_the_class_of_an_error(error: Exception, expected: ErrorClass) -> None:
    assert classify(error) is expected


def test_shutdown_ends_waiting_getters_and_refuses_adds() -> None:
    async def main() -> None:
        work = queue()
        work.add(A)
        await work.get()
        waiting = asyncio.ensure_future(work.get())
        await asyncio.sleep(1)
        work.add_after(B, 10)
        work.shut_down()
        with pytest.raises(QueueClosed):
            await waiting
        work.add(C)
        work.done(A)
        await asyncio.sleep(100)
        with pytest.raises(QueueClosed):
            await work.get()
        statistics = work.statistics()
        assert statistics.processing == statistics.waiting == sum(statistics.ready.values()) == 0

    run_virtual(main())


def test_a_cancelled_getter_loses_no_key() -> None:
    async def main() -> None:
        work = queue()
        first, second = asyncio.ensure_future(work.get()), asyncio.ensure_future(work.get())
        await asyncio.sleep(1)
        work.add(A)
        first.cancel()
        assert (await second).key == A

    run_virtual(main())


def test_statistics() -> None:
    async def main() -> None:
        work = queue()
        work.add(A)
        await work.get()
        await asyncio.sleep(5)
        work.add(B, priority=Priority.CHANGE)
        work.add_after(C, 5)
        statistics = work.statistics()
        assert statistics.ready[Priority.CHANGE] == 1
        assert (statistics.waiting, statistics.processing) == (1, 1)
        assert statistics.longest_running == pytest.approx(5)

    run_virtual(main())


def test_often_delayed_keys_leave_no_pile() -> None:
    async def main() -> None:
        work = queue()
        # What waits in front of them keeps the others from being met, and dropped, on the way.
        work.add_after(B, 250)
        for _ in range(10_000):
            work.add(A)
            await work.get()
            work.add_after(A, 300)
            work.done(A)
        assert len(work._delayed) < 200

    run_virtual(main())


def test_there_is_room_when_no_more_than_so_many_are_ready() -> None:
    async def main() -> None:
        work = queue()
        await work.room(Priority.RESYNC, 0)
        for number in range(10):
            work.add(ObjectKey("n", str(number)), priority=Priority.RESYNC)
        some = asyncio.ensure_future(work.room(Priority.RESYNC, 7))
        all_ = asyncio.ensure_future(work.room(Priority.RESYNC, 0))
        given_up = asyncio.ensure_future(work.room(Priority.RESYNC, 3))
        await asyncio.sleep(1)
        given_up.cancel()
        for left in range(9, -1, -1):
            assert work.get_nowait() is not None
            await asyncio.sleep(1)
            assert (some.done(), all_.done()) == (left <= 7, left == 0)
        work.add(A, priority=Priority.RESYNC)
        shut = asyncio.ensure_future(work.room(Priority.RESYNC, 0))
        await asyncio.sleep(1)
        work.shut_down()
        await shut

    run_virtual(main())
