"""The reflector drives the watch machine over a transport: opens, reads, decodes, waits."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import msgspec

from informers.client import requests
from informers.client.client import error_of
from informers.client.transport import HttpResponse, HttpStream, Transport
from informers.clock import Clock
from informers.errors import TransportError
from informers.objects import Resource
from informers.watch.backoff import BackOff
from informers.watch.decoding import LineDecoder, decode_page, refusal
from informers.watch.events import Event
from informers.watch.machine import BackOff as Rest
from informers.watch.machine import (
    Command,
    Ended,
    GetPage,
    Input,
    Lost,
    OpenStream,
    Overdue,
    Phase,
    Refused,
    Started,
    State,
    Waited,
    step,
)

log = logging.getLogger(__name__)

Sink = Callable[[Sequence[Event]], None]

_VERSION_MATCH = "NotOlderThan"


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """What to watch, and how patiently.

    :param namespace: "" for all.
    :param metadata_only: ask for metadata only (``PartialObjectMetadata``).
    :param read_deadline: seconds without a byte, bookmarks counted, after which a watch or a list is given
        up. Servers send a bookmark about once a minute.
    :param initial_deadline: seconds a streaming list may be quiet before its end is taken as never to come.
    :param initial_limit: seconds a streaming list may take in all, for where something always happens a
        server that does not know them is never quiet.
    :param server_timeout: shortest and longest life of a stream in seconds; each draws its own, so that
        those of many clients do not end together.
    """

    namespace: str = ""
    label_selector: str = ""
    field_selector: str = ""
    metadata_only: bool = False
    read_deadline: float = 70.0
    initial_deadline: float = 10.0
    initial_limit: float = 60.0
    server_timeout: tuple[int, int] = (300, 600)


class Reflector:
    """Keeps one sink in step with one resource.

    :param sink: takes events, in order, as they come; must not block.
    :param relieve: awaited between two pieces of a list, so that a sink with work of its own to do on a
        large state is not overrun.
    :param clock: for back-off and ages.
    :param rng: jitter.
    """

    def __init__(
        self,
        transport: Transport,
        resource: Resource,
        sink: Sink,
        *,
        clock: Clock,
        rng: random.Random,
        options: WatchOptions | None = None,
        relieve: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._transport = transport
        self._resource = resource
        self._sink = sink
        self._clock = clock
        self._rng = rng
        self._options = options or WatchOptions()
        self._relieve = relieve or _at_ease
        self.on_missing: Callable[[], bool] = _nobody
        """Called when the server turns out not to serve the resource; True when someone else says so."""
        self._back_off = BackOff(clock, rng)
        self._state = State()
        self._started_at: float | None = None
        self._contact_at: float | None = None
        self.problem: str | None = None
        """The last failure, until the server answers as it should."""
        self.missing = False
        """The server does not serve the resource."""
        self.reported = False
        """The last failure is in the log already, said of the server as a whole."""

    @property
    def version(self) -> str:
        """The version the sink has been brought to; "" before the first list."""
        return self._state.version

    @property
    def phase(self) -> Phase:
        """What continues right now."""
        return self._state.phase

    def last_contact_age(self) -> float:
        """Seconds since the server last sent a page or anything on a stream; since the start, if it never
        did; 0 before that."""
        since = self._contact_at if self._contact_at is not None else self._started_at
        return self._clock.monotonic() - since if since is not None else 0.0

    async def run(self) -> None:
        """Until cancelled. No failure of the server or the network ends it."""
        self._started_at = self._clock.monotonic()
        self._state = State()
        command = self._step(Started())
        while True:
            assert command is not None, "only an open stream goes on without a command"
            match command:
                case Rest():
                    await asyncio.sleep(self._back_off.next(command.at_least))
                    command = self._step(Waited())
                case GetPage():
                    command = self._step(await self._page(command))
                    await self._relieve()
                case OpenStream():
                    command = await self._stream(command)

    def _step(self, given: Input) -> Command | None:
        before = self._state.phase
        outcome = step(self._state, given)
        if outcome.events:
            self._sink(outcome.events)
        # Only now: the version must not promise what the sink has not taken in.
        self._state = outcome.state
        if outcome.state.phase is not before:
            log.debug("%s: %s, now %s", self._resource, before.value, outcome.state.phase.value)
        return outcome.command

    # -- list --------------------------------------------------------------------------------------

    async def _page(self, command: GetPage) -> Input:
        options = self._options
        request = requests.list_page(
            self._resource,
            namespace=options.namespace,
            label_selector=options.label_selector,
            field_selector=options.field_selector,
            limit=command.limit,
            continue_token=command.continue_token,
            resource_version=command.version,
            resource_version_match=_VERSION_MATCH,
            metadata_only=options.metadata_only,
            read_deadline=options.read_deadline,
        )
        try:
            response = await self._transport.request(request)
            if response.status != 200:
                return self._refused("list", response)
            page = decode_page(response.body, self._resource)
        except (TransportError, msgspec.DecodeError) as error:
            return self._lost("list", error)
        self._well()
        return page

    # -- stream ------------------------------------------------------------------------------------

    async def _stream(self, opening: OpenStream) -> Command:
        """Follow one stream until the machine wants something else."""
        options = self._options
        request = requests.watch(
            self._resource,
            namespace=options.namespace,
            label_selector=options.label_selector,
            field_selector=options.field_selector,
            resource_version=opening.version,
            initial_events=opening.initial,
            server_timeout=self._rng.randint(*options.server_timeout),
            read_deadline=options.read_deadline,
            metadata_only=options.metadata_only,
        )
        given: Input
        following = False
        try:
            async with AsyncExitStack() as stack:
                async with asyncio.timeout(options.read_deadline):
                    stream = await stack.enter_async_context(self._transport.stream(request))
                if stream.status != 200:
                    async with asyncio.timeout(options.read_deadline):
                        body = await stream.read()
                    given = self._refused("watch", HttpResponse(stream.status, body, stream.headers))
                else:
                    following = True
                    return await self._follow(stream)
        except TimeoutError:
            given = self._lost("watch", f"no answer for {options.read_deadline:.0f} s")
        except (TransportError, msgspec.DecodeError) as error:
            # A stream that breaks is no news: whether it can be opened again is.
            given = self._lost("watch", error, quiet=following and isinstance(error, TransportError))
        command = self._step(given)
        assert command is not None, "a stream that is over calls for something else"
        return command

    async def _follow(self, stream: HttpStream) -> Command:
        opened_at = self._clock.monotonic()
        self._well()
        decoder = LineDecoder(self._resource)
        chunks, following, now = stream.chunks(), None, asyncio.get_running_loop().time
        began = now()
        try:
            # One for all chunks: a new one for each costs as much as an event.
            async with asyncio.timeout(None) as limit:
                while following is None:
                    limit.reschedule(self._due(began, now()))
                    chunk = await anext(chunks, b"")
                    limit.reschedule(None)
                    if not chunk:
                        following = self._step(Ended(self._clock.monotonic() - opened_at))
                        break
                    self._heard()
                    following = self._take(decoder.feed(chunk))
                    if following is None and self._state.phase is Phase.STREAMING:
                        await self._relieve()
        except TimeoutError:
            following = self._step(self._quiet())
        assert following is not None, "a stream that is over calls for something else"
        return following

    def _take(self, inputs: Sequence[Input]) -> Command | None:
        for given in inputs:
            if isinstance(given, Refused):
                self.problem = f"watch: error {given.status} on the stream"
            command = self._step(given)
            if command is not None:
                return command
        return None

    def _due(self, began: float, now: float) -> float:
        """When to give the stream up, unless more comes; on the loop's clock, as both arguments."""
        options = self._options
        due = now + options.read_deadline
        if self._state.phase is Phase.STREAMING:
            due = min(due, now + options.initial_deadline, began + options.initial_limit)
        return due

    def _quiet(self) -> Input:
        if self._state.phase is Phase.STREAMING:
            return Overdue()
        return self._lost("watch", f"silent for {self._options.read_deadline:.0f} s", quiet=True)

    # -- bookkeeping -------------------------------------------------------------------------------

    def _heard(self) -> None:
        self._contact_at = self._clock.monotonic()

    def _well(self) -> None:
        self._heard()
        self.problem, self.missing, self.reported = None, False, False

    def _refused(self, verb: str, response: HttpResponse) -> Refused:
        error = error_of(response, self._clock)
        # A list of nothing is answered with 200: this is about the resource.
        self.missing = response.status == 404
        if self.missing:
            self._report("404: the API server does not serve this resource", quiet=self.on_missing())
        else:
            self._report(f"{verb}: {response.status} {error.reason}: {error}")
        return refusal({"details": dict(error.details)}, response.status, error.retry_after)

    def _lost(self, verb: str, error: Exception | str, *, quiet: bool = False) -> Lost:
        self.missing = False
        reported = isinstance(error, TransportError) and error.reported
        self._report(f"{verb}: {error}", quiet=quiet or reported)
        return Lost()

    def _report(self, problem: str, *, quiet: bool = False) -> None:
        # Loud once, however often it is met again.
        level = logging.DEBUG if quiet or problem == self.problem else logging.WARNING
        log.log(level, "%s: %s", self._resource, problem)
        self.problem, self.reported = problem, quiet


def _nobody() -> bool:
    """Nobody who would say it."""
    return False


async def _at_ease() -> None:
    """No sink to wait for."""
