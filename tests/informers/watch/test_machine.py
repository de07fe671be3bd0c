"""The watch machine: the table is complete, no failure is answered at once, and chaos always settles."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from informers.cache.informer import Delta
from informers.client.transport import HttpRequest, HttpResponse
from informers.errors import TransportError
from informers.objects import ObjectKey
from informers.testing.clock import VirtualClock, run_virtual
from informers.views.view import View, view_of_object
from informers.watch.backoff import FIRST, LIMIT, BackOff
from informers.watch.events import Apply, Delete, Init, InitApply, InitDone
from informers.watch.machine import (
    PAGE_SIZE,
    Bookmark,
    Changes,
    Command,
    Ended,
    GetPage,
    Input,
    Lost,
    OpenStream,
    Overdue,
    Page,
    Phase,
    Refused,
    Started,
    State,
    Waited,
    step,
)
from informers.watch.machine import BackOff as Rest
from tests.informers.watch.running import Slowest, informer_of, running
from tests.informers.watch.server import REFUSED, Server, status


def view_at(version: int, name: str = "x") -> View:
    meta = {"name": name, "namespace": "n", "uid": "u", "resourceVersion": str(version)}
    view = view_of_object({"metadata": meta})
    assert view is not None
    return view


REFUSALS = st.builds(
    lambda code, wait: Refused(code, code == 410, wait),
    st.sampled_from([400, 401, 403, 404, 405, 410, 422, 429, 500, 503, 504]),
    st.none() | st.floats(0, 100),
)
CHANGES = st.lists(
    st.builds(Apply, st.builds(view_at, st.integers(1, 99)))
    | st.builds(Delete, st.builds(view_at, st.integers(1, 99))),
    min_size=1,
    max_size=3,
)


def inputs_for(phase: Phase) -> st.SearchStrategy[Input]:
    """What can arrive in a phase."""
    stream: list[st.SearchStrategy[Any]] = [
        st.builds(Changes, CHANGES),
        st.builds(Bookmark, st.integers(1, 99).map(str), st.booleans()),
        REFUSALS,
        st.just(Lost()),
        st.builds(Ended, st.sampled_from([0.0, 1.0, 29.0, 31.0, 400.0])),
    ]
    pages = st.builds(
        Page,
        st.lists(st.builds(view_at, st.integers(1, 99))),
        st.integers(1, 99).map(str),
        st.sampled_from(["", "t"]),
    )
    return {
        Phase.IDLE: st.just(Started()),
        Phase.BACKING_OFF: st.just(Waited()),
        Phase.STREAMING: st.one_of(*stream, st.just(Overdue())),
        Phase.WATCHING: st.one_of(*stream),
        Phase.LISTING: st.one_of(pages, REFUSALS, st.just(Lost())),
    }[phase]


def is_failure(given_: Input) -> bool:
    return isinstance(given_, Refused | Lost) or (isinstance(given_, Ended) and given_.lived < 30)


@settings(max_examples=150)
@given(st.data())
def test_any_history(data: st.DataObject) -> None:
    """Every input that can arrive has a transition; failures rest; new states are well formed."""
    state, collecting, synced = State(), False, False
    command: Command | None = None
    for _ in range(data.draw(st.integers(1, 30))):
        given_ = data.draw(inputs_for(state.phase))
        before, (state, events, command) = state, unpack(state, given_)
        for event in events:
            match event:
                case Init():
                    collecting = True
                case InitApply():
                    assert collecting
                case InitDone(version):
                    assert collecting
                    assert version == state.version
                    collecting, synced = False, True
        assert (state.phase is Phase.WATCHING) <= synced
        assert (state.phase is Phase.WATCHING) <= (not collecting)
        if is_failure(given_):
            fallback = before.phase is Phase.STREAMING and isinstance(command, GetPage)
            assert isinstance(command, Rest) or fallback
            assert not fallback or not state.streaming, "a fallback happens once"
        if isinstance(given_, Refused) and isinstance(command, Rest):
            assert command.at_least == (given_.retry_after or 0.0)
        expected: dict[Phase, type[object]] = {
            Phase.BACKING_OFF: Rest,
            Phase.LISTING: GetPage,
            Phase.STREAMING: OpenStream,
            Phase.WATCHING: OpenStream,
        }
        if state.phase is not before.phase and not (
            before.phase is Phase.STREAMING and state.phase is Phase.WATCHING
        ):
            assert isinstance(command, expected[state.phase])


def unpack(state: State, given_: Input) -> tuple[State, Any, Command | None]:
    outcome = step(state, given_)
    return outcome.state, outcome.events, outcome.command


WATCHING = State(phase=Phase.WATCHING, version="50")


@pytest.mark.parametrize("code", [401, 403, 429, 500, 503, 504])
def test_a_watch_that_is_refused_is_tried_again_where_it_was(code: int) -> None:
    resting = step(WATCHING, Refused(code)).state
    assert step(resting, Waited()).command == OpenStream("50")


@pytest.mark.parametrize("code", [400, 404, 410, 422])
def test_a_watch_that_cannot_go_on_starts_over_from_its_version(code: int) -> None:
    resting = step(WATCHING, Refused(code, version_unavailable=code == 410)).state
    listing = step(resting, Waited())
    assert listing.command == OpenStream("50", initial=True)
    resting = step(listing.state, Refused(504, version_unavailable=True)).state
    assert step(resting, Waited()).command == OpenStream("", initial=True)


def test_a_paged_list_watches_from_its_first_page() -> None:
    state = step(State(streaming=False), Started()).state
    state = step(state, Page([], "10", "more")).state
    assert step(state, Page([], "12", "")).command == OpenStream("10")


def test_asking_for_the_newest_ends_with_the_list_that_did() -> None:
    newest = State(phase=Phase.STREAMING, version="50", at_newest=True)
    assert step(newest, Bookmark("40", initial_end=True)).state.floor == "40"
    paged = State(phase=Phase.LISTING, version="50", at_newest=True, streaming=False)
    assert step(paged, Page([], "40", "")).state.floor == "40"


def test_a_list_that_fell_apart_is_read_whole_and_the_next_one_in_pages() -> None:
    state = step(State(streaming=False), Started()).state
    state = step(state, Page([], "10", "more")).state
    resting = step(state, Refused(410, version_unavailable=True)).state
    whole = step(resting, Waited())
    assert whole.command == GetPage("", 0)
    state = step(whole.state, Page([], "12", "")).state
    resting = step(state, Refused(410, version_unavailable=True)).state
    assert step(resting, Waited()).command == GetPage("12", PAGE_SIZE)


def test_a_bookmark_moves_the_version() -> None:
    assert step(WATCHING, Bookmark("60")).state.version == "60"
    assert step(WATCHING, Changes([Apply(view_at(55))])).state.version == "55"


def test_impossible_inputs_are_faults_of_the_caller() -> None:
    with pytest.raises(KeyError):
        step(State(), Lost())


def test_a_rest_that_the_server_asks_for_is_no_quiet_time() -> None:
    async def main() -> None:
        back_off = BackOff(VirtualClock(), Slowest(1))
        assert back_off.next() == FIRST
        await asyncio.sleep(back_off.next(at_least=300))
        assert back_off.next() == 4 * FIRST

    run_virtual(main())


def test_back_off_doubles_to_its_limit_and_starts_over_when_it_was_quiet() -> None:
    async def scenario() -> None:
        clock = VirtualClock()
        back_off = BackOff(clock, random.Random(3))
        for number in range(40):
            rest = back_off.next()
            assert 0 <= rest <= min(FIRST * 2**number, LIMIT)
            await asyncio.sleep(rest)
        await asyncio.sleep(119)
        back_off.next()
        await asyncio.sleep(LIMIT + 121)
        assert back_off.next() <= FIRST
        assert back_off.next(at_least=45) >= 45

    run_virtual(scenario())


FAULTS: list[HttpResponse | TransportError | None] = [
    None,
    REFUSED,
    status(403, "Forbidden"),
    status(404),
    status(410, "Expired"),
    status(429),
    status(500),
    status(422),
    HttpResponse(200, b"<html>"),
]
ACTIONS = st.tuples(
    st.sampled_from(["put", "put", "remove", "cut", "end", "compact", "faults", "silence", "speak", "wait"]),
    st.integers(0, 8),
)


@settings(max_examples=60)
@given(
    st.lists(ACTIONS, min_size=5, max_size=40),
    st.sampled_from(["streams", "refuses streams", "ignores streams"]),
    st.integers(0, 2**16),
)
def test_chaos_settles_into_the_truth(actions: list[tuple[str, int]], kind: str, seed: int) -> None:
    """Whatever happens on the way, the cache ends as the server's state, and the deltas add up to it."""

    async def scenario() -> None:
        server = Server()
        server.streaming_lists, server.ignores_streaming = kind == "streams", kind == "ignores streams"
        dice = random.Random(seed)
        informer = informer_of(server, rng=random.Random(seed))
        deltas: list[Delta] = []
        informer.add_handler(deltas.append)
        async with running(informer, synced=False):
            for action, number in actions:
                act(server, action, number, dice)
                await asyncio.sleep(dice.choice([0, 0.01, 1, 40]))
            server.fault, server.silent = None, False
            server.cut()
            await asyncio.sleep(400)
            truth = {key: obj["metadata"]["resourceVersion"] for key, obj in server.objects.items()}
            assert {view.key: view.resource_version for view in informer.list()} == truth
            assert added_up(deltas) == truth
            assert informer.synced
            assert informer.health() is None

    run_virtual(scenario())


def added_up(deltas: list[Delta]) -> dict[ObjectKey, str]:
    """The state that deltas lead to; each must begin where the one before it ended."""
    state: dict[ObjectKey, View] = {}
    for old, new, _ in deltas:
        view = new or old
        assert view is not None
        known = state.pop(view.key, None)
        assert (known is None) == (old is None)
        assert known is None or old is None or known.uid == old.uid
        if new is not None:
            assert old is None or old is known
            state[view.key] = new
    return {key: view.resource_version for key, view in state.items()}


def act(server: Server, action: str, number: int, dice: random.Random) -> None:
    names = [key.name for key in server.objects]
    if action == "put":
        server.put(f"pod-{number}")
    elif action == "remove" and names:
        server.remove(names[number % len(names)])
    elif action == "faults":
        server.fault = lambda request: fault_of(request, dice, number)
    elif action in ("silence", "speak"):
        server.silent = action == "silence"
    elif action in ("cut", "end", "compact"):
        getattr(server, action)()


def fault_of(_: HttpRequest, dice: random.Random, number: int) -> HttpResponse | TransportError | None:
    return dice.choice([None, FAULTS[number]])
