"""The API server as a transport: clients talk to it without sockets, so that virtual time can pass."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from informers.apiserver.core import ApiServer
from informers.apiserver.errors import StatusError
from informers.apiserver.errors.refusals import bad_request
from informers.apiserver.faults import ConnectionCut
from informers.apiserver.reading.watching import Watch, WatchEvent, WatchOutcome
from informers.apiserver.requests.calls import Call, ListOutcome, ObjectOutcome
from informers.apiserver.requests.deadlines import Deadline, allowed_time
from informers.apiserver.requests.reviews import parse_review
from informers.apiserver.requests.routes import parse
from informers.apiserver.rest import serve
from informers.client.transport import HttpRequest, HttpResponse, HttpStream
from informers.errors import TransportError
from informers.objects import Object, Resource

_JSON = {"content-type": "application/json"}
_METADATA = "PartialObjectMetadata"
_META_V1 = "meta.k8s.io/v1"


class ApiServerTransport:
    """A :class:`informers.client.transport.Transport` straight onto an :class:`ApiServer`. JSON only; lists
    and watches show metadata alone to who asks for that. It answers reviews of the caller's own access.

    :param user: who asks; nobody checks, but fault rules and the journal of writes see it.
    :param user_agent: names the field manager of requests that do not.
    :param latency: seconds every request takes to arrive.
    """

    def __init__(
        self, core: ApiServer, *, user: str = "", user_agent: str = "test", latency: float = 0.0
    ) -> None:
        self._core = core
        self._user = user
        self._user_agent = user_agent
        self._latency = latency
        self._watches: set[Watch] = set()

    async def request(self, request: HttpRequest) -> HttpResponse:
        """Send and read the whole answer.

        :raises TransportError: when a fault rule cuts the connection, or the timeout passes first.
        """
        outcome = await self._outcome(request)
        if isinstance(outcome, WatchOutcome):
            outcome.watch.close()
            raise TransportError("a watch needs stream()")
        return outcome

    @asynccontextmanager
    async def stream(self, request: HttpRequest) -> AsyncIterator[HttpStream]:
        """Send and hand out the body as a stream; leaving the context ends a watch.

        :raises TransportError: as for :meth:`request`.
        """
        outcome = await self._outcome(request)
        if isinstance(outcome, HttpResponse):
            yield _Whole(outcome)
            return
        watch = outcome.watch
        self._watches.add(watch)
        try:
            yield _WatchStream(watch, request.timeout, metadata_only=_metadata_only(request))
        finally:
            self._watches.discard(watch)
            watch.close()

    async def close(self) -> None:
        """End every watch that is open."""
        for watch in tuple(self._watches):
            watch.close()

    async def _outcome(self, request: HttpRequest) -> HttpResponse | WatchOutcome:
        # An answer comes in one piece here, after nothing at all.
        limits = [limit for limit in (request.timeout, request.silence) if limit is not None]
        patience = min(limits, default=None)
        try:
            async with asyncio.timeout(patience):
                # A request over a network never finishes within the turn of the loop that started it.
                await asyncio.sleep(self._latency)
                deadline = Deadline(allowed_time(request.method, request.path, dict(request.query)))
                call = self._call(request)
                deadline.check()
                async with deadline.enforced():
                    outcome = await serve(self._core, call)
        except StatusError as error:
            return _refusal(error)
        except ConnectionCut:
            raise TransportError("the connection was cut") from None
        except TimeoutError:
            raise TransportError(f"no answer within {patience} s") from None
        if isinstance(outcome, ObjectOutcome):
            return _object(outcome)
        if isinstance(outcome, ListOutcome):
            return _list(call.info.type.resource, outcome, metadata_only=_metadata_only(request))
        return outcome

    def _call(self, request: HttpRequest) -> Call:
        query = dict(request.query)
        info = parse_review(request.method, request.path, query)
        info = info or parse(self._core.registry, request.method, request.path, query)
        body: Any = None
        if request.body:
            try:
                body = json.loads(request.body)
            except ValueError as error:
                raise bad_request(f"error decoding the request body: {error}") from None
        return Call(info, body, request.content_type, self._user, self._user_agent)


def _refusal(error: StatusError) -> HttpResponse:
    headers = dict(_JSON)
    if error.retry_after is not None:
        headers["retry-after"] = str(error.retry_after)
    return HttpResponse(error.code, json.dumps(error.status()).encode(), headers)


def _object(outcome: ObjectOutcome) -> HttpResponse:
    stored = outcome.stored
    body = stored.encoded if stored is not None else msgspec.json.encode(outcome.obj)
    headers = dict(_JSON)
    if outcome.warnings:
        headers["warning"] = ", ".join(f"299 - {json.dumps(text)}" for text in outcome.warnings)
    return HttpResponse(outcome.code, body, headers)


def _metadata_only(request: HttpRequest) -> bool:
    return f";as={_METADATA}" in request.accept


def _metadata(obj: Object) -> bytes:
    return msgspec.json.encode({"kind": _METADATA, "apiVersion": _META_V1, "metadata": obj["metadata"]})


def _list(resource: Resource, outcome: ListOutcome, *, metadata_only: bool) -> HttpResponse:
    kind, version = (_METADATA, _META_V1) if metadata_only else (resource.kind, resource.api_version)
    header = {"kind": kind + "List", "apiVersion": version, "metadata": dict(outcome.metadata)}
    start = msgspec.json.encode(header)[:-1]
    items = b",".join(_metadata(item.obj) if metadata_only else item.encoded for item in outcome.items)
    return HttpResponse(200, b"".join((start, b',"items":[', items, b"]}")), dict(_JSON))


class _Whole:
    """A complete answer, read as a stream."""

    def __init__(self, response: HttpResponse) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self._body = response.body

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body in one piece."""
        yield self._body

    async def read(self) -> bytes:
        """The body."""
        return self._body


class _WatchStream:
    """A watch as lines of JSON."""

    def __init__(self, watch: Watch, silence: float | None, *, metadata_only: bool) -> None:
        self.status = 200
        self.headers: Mapping[str, str] = _JSON
        self._watch = watch
        self._silence = silence
        self._metadata_only = metadata_only

    async def chunks(self) -> AsyncIterator[bytes]:
        """One line per event.

        :raises TransportError: when nothing comes for as long as the request allows.
        """
        while True:
            try:
                async with asyncio.timeout(self._silence):
                    event = await anext(self._watch, None)
            except TimeoutError:
                raise TransportError(f"silent for {self._silence} s") from None
            if event is None:
                return
            yield _line(event, metadata_only=self._metadata_only)

    async def read(self) -> bytes:
        """Everything until the watch ends."""
        return b"".join([chunk async for chunk in self.chunks()])


def _line(event: WatchEvent, *, metadata_only: bool) -> bytes:
    if event.stored is None:
        encoded = msgspec.json.encode(event.obj)
    else:
        encoded = _metadata(event.stored.obj) if metadata_only else event.stored.encoded
    return b"".join((b'{"type":"', event.kind.encode(), b'","object":', encoded, b"}\n"))
