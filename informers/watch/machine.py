"""The watch as a pure machine: ``step(state, input)`` gives the next state, events and the next command.

::

                    ┌────────────── refused (400, 405, 422), ended or overdue ─────────────┐
    Started ──▶ STREAMING ──── end-of-initial-events bookmark ────▶ WATCHING               ▼
                    ▲                                              ▲      │            LISTING
                    │                                              └──────┼── last page ───┘
                    │    BACKING_OFF ◀── any other failure, anywhere ─────┘
                    └──────── │ Waited ──▶ what failed, again

While watching, a failure is answered by watching again at the same version, whether the server could not be
reached, was busy, or refused: a restarted API server must not be met by a storm of lists. Only a version it
no longer has (410), a resource it does not know (404) or a request it cannot make sense of (400, 422) are
answered by a new list; that list asks for a state no older than the last version, and, if even that is not
to be had, for the newest.

Every failure passes through ``BACKING_OFF``. How long that takes is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, TypeAlias

from informers.views.view import View
from informers.watch.events import Apply, Delete, Event, Init, InitApply, InitDone

PAGE_SIZE = 500
"""Objects per page of a list."""
LASTING = 30.0
"""Seconds after which the end of a stream is the ordinary course of things: the next one opens at once."""


class Phase(Enum):
    """What the machine is about."""

    IDLE = "idle"
    STREAMING = "streaming list"
    LISTING = "paged list"
    WATCHING = "watch"
    BACKING_OFF = "back-off"


@dataclass(frozen=True, slots=True)
class State:
    """Everything the machine remembers.

    :param then: the phase after a back-off.
    :param version: the state the cache has reached, "" before the first list.
    :param at_newest: the last version is not to be had any more; ask for the newest.
    :param streaming: whether to try a streaming list.
    :param page_size: objects per page; 0 after a list fell apart between two pages.
    :param listed: version of the first page of the running list.
    """

    phase: Phase = Phase.IDLE
    then: Phase = Phase.IDLE
    version: str = ""
    at_newest: bool = False
    streaming: bool = True
    page_size: int = PAGE_SIZE
    listed: str = ""

    @property
    def floor(self) -> str:
        """The oldest state a list may show; "" asks for the newest."""
        return "" if self.at_newest else self.version


# -- inputs ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Started:
    """Begin."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a list. ``continue_token`` is "" on the last one."""

    views: Sequence[View]
    version: str
    continue_token: str


Changed: TypeAlias = Apply | Delete
"""One object on a stream."""


@dataclass(frozen=True, slots=True)
class Changes:
    """Objects in the order the stream brought them."""

    items: Sequence[Changed]


@dataclass(frozen=True, slots=True)
class Bookmark:
    """The stream has reached a version; ``initial_end`` ends a streaming list."""

    version: str
    initial_end: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """The server said no: by status, or by an error on the stream.

    :param version_unavailable: the version asked for is too old (410) or beyond what the server has.
    :param retry_after: seconds the server asks to wait, or ``None``.
    """

    status: int
    version_unavailable: bool = False
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Lost:
    """No answer, a broken connection, silence, or nonsense."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The server ended the stream, which had lived for so many seconds."""

    lived: float


@dataclass(frozen=True, slots=True)
class Overdue:
    """A streaming list has gone quiet without saying that it is complete."""


@dataclass(frozen=True, slots=True)
class Waited:
    """The back-off is over."""


Input: TypeAlias = Started | Page | Changes | Bookmark | Refused | Lost | Ended | Overdue | Waited

# -- commands --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GetPage:
    """Read a page. ``version`` is a lower bound and only on first pages; "" is the newest state."""

    version: str
    limit: int
    continue_token: str = ""


@dataclass(frozen=True, slots=True)
class OpenStream:
    """Close any stream and open one: at ``version``, or with ``initial`` no older than that."""

    version: str
    initial: bool = False


@dataclass(frozen=True, slots=True)
class BackOff:
    """Close any stream and wait, at least ``at_least`` seconds."""

    at_least: float = 0.0


Command: TypeAlias = GetPage | OpenStream | BackOff


@dataclass(frozen=True, slots=True)
class Step:
    """The outcome of an input. Without a command, what is under way continues."""

    state: State
    events: Sequence[Event] = field(default=())
    command: Command | None = None


# -- transitions -----------------------------------------------------------------------------------

_NO_STREAMING_LIST = frozenset({400, 405, 406, 422})
"""How servers refuse a streaming list they do not know, or do not do for this resource."""
_LIST_ANEW = frozenset({400, 404, 410, 422})
"""Refusals of a watch that no watch at the same version could cure."""


def step(state: State, given: Input) -> Step:
    """One transition.

    :raises KeyError: for an input that cannot arrive in this phase: a fault of the caller.
    """
    return TRANSITIONS[state.phase, type(given)](state, given)


def _list(state: State) -> Step:
    """Begin a new state, streaming if possible."""
    if state.streaming:
        return Step(replace(state, phase=Phase.STREAMING), (Init(),), OpenStream(state.floor, initial=True))
    return _list_pages(state)


def _list_pages(state: State) -> Step:
    state = replace(state, phase=Phase.LISTING, listed="")
    return Step(state, (Init(),), GetPage(state.floor, state.page_size))


def _watch(state: State) -> Step:
    return Step(replace(state, phase=Phase.WATCHING), (), OpenStream(state.version))


def _back_off(state: State, then: Phase, at_least: float | None = None) -> Step:
    return Step(replace(state, phase=Phase.BACKING_OFF, then=then), (), BackOff(at_least or 0.0))


def _on_start(state: State, _: Started) -> Step:
    return _list(state)


def _on_waited(state: State, _: Waited) -> Step:
    return _watch(state) if state.then is Phase.WATCHING else _list(state)


def _on_lost(state: State, _: Lost) -> Step:
    return _back_off(state, state.phase)


# streaming list


def _streaming_changes(state: State, given: Changes) -> Step:
    return Step(state, [InitApply(one.view) if isinstance(one, Apply) else one for one in given.items])


def _streaming_bookmark(state: State, given: Bookmark) -> Step:
    if not given.initial_end:
        return Step(state)
    after = replace(state, phase=Phase.WATCHING, version=given.version, at_newest=False)
    return Step(after, (InitDone(given.version),))


def _streaming_refused(state: State, given: Refused) -> Step:
    if given.version_unavailable:
        return _back_off(replace(state, at_newest=True), Phase.STREAMING, given.retry_after)
    if given.status in _NO_STREAMING_LIST:
        return _list_pages(replace(state, streaming=False))
    return _back_off(state, Phase.STREAMING, given.retry_after)


def _streaming_incomplete(state: State, _: Ended | Overdue) -> Step:
    """A server that does not know the parameter watches instead, and never says that this was all."""
    return _list_pages(replace(state, streaming=False))


# paged list


def _listing_page(state: State, given: Page) -> Step:
    events: list[Event] = [InitApply(view) for view in given.views]
    # Later pages may show a newer state; the watch must start at the oldest.
    state = replace(state, listed=state.listed or given.version)
    if given.continue_token:
        return Step(state, events, GetPage("", state.page_size, given.continue_token))
    events.append(InitDone(state.listed))
    after = replace(state, version=state.listed, at_newest=False, page_size=PAGE_SIZE)
    return Step(replace(after, phase=Phase.WATCHING), events, OpenStream(after.version))


def _listing_refused(state: State, given: Refused) -> Step:
    if given.version_unavailable:
        # With a page read already it is the token that is too old: paging takes too long here.
        state = replace(state, page_size=0) if state.listed else replace(state, at_newest=True)
    return _back_off(state, Phase.LISTING, given.retry_after)


# watch


def _watching_changes(state: State, given: Changes) -> Step:
    version = given.items[-1].view.resource_version
    return Step(replace(state, version=version or state.version), given.items)


def _watching_bookmark(state: State, given: Bookmark) -> Step:
    return Step(replace(state, version=given.version or state.version))


def _watching_refused(state: State, given: Refused) -> Step:
    if given.version_unavailable or given.status in _LIST_ANEW:
        return _back_off(state, Phase.STREAMING, given.retry_after)
    return _back_off(state, Phase.WATCHING, given.retry_after)


def _watching_ended(state: State, given: Ended) -> Step:
    return _watch(state) if given.lived >= LASTING else _back_off(state, Phase.WATCHING)


TRANSITIONS: Mapping[tuple[Phase, type], Callable[[State, Any], Step]] = {
    (Phase.IDLE, Started): _on_start,
    (Phase.BACKING_OFF, Waited): _on_waited,
    (Phase.STREAMING, Changes): _streaming_changes,
    (Phase.STREAMING, Bookmark): _streaming_bookmark,
    (Phase.STREAMING, Refused): _streaming_refused,
    (Phase.STREAMING, Ended): _streaming_incomplete,
    (Phase.STREAMING, Overdue): _streaming_incomplete,
    (Phase.STREAMING, Lost): _on_lost,
    (Phase.LISTING, Page): _listing_page,
    (Phase.LISTING, Refused): _listing_refused,
    (Phase.LISTING, Lost): _on_lost,
    (Phase.WATCHING, Changes): _watching_changes,
    (Phase.WATCHING, Bookmark): _watching_bookmark,
    (Phase.WATCHING, Refused): _watching_refused,
    (Phase.WATCHING, Ended): _watching_ended,
    (Phase.WATCHING, Lost): _on_lost,
}
"""Every transition there is."""
