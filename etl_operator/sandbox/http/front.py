"""From an HTTP request to its answer: who asks, whether they may, what they get, in the shape they want."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import msgspec
from aiohttp import ClientConnectionResetError, web

from etl_operator.sandbox.http.access.access import Access
from etl_operator.sandbox.http.access.identity import Identity
from etl_operator.sandbox.http.access.rbac import Attributes
from etl_operator.sandbox.http.access.reviews import Reviews
from etl_operator.sandbox.http.access.tokens import Tokens
from etl_operator.sandbox.http.content.expectation import ask_for_body, cannot_be_met, still_waits
from etl_operator.sandbox.http.content.negotiation import (
    JSON,
    Shape,
    Wanted,
    encode,
    is_pretty,
    media_type,
    negotiate,
    read_body,
)
from etl_operator.sandbox.http.content.rendering import Renderer
from etl_operator.sandbox.http.documents.discovery import REVIEWS
from etl_operator.sandbox.http.documents.documents import Documents, Encoded, is_document
from etl_operator.sandbox.http.documents.health import is_health, report
from etl_operator.sandbox.http.hooks import PREFIX, Hooks
from etl_operator.sandbox.http.printing.tables import include_object, partial
from etl_operator.sandbox.http.special import Logs, issue_token, refuse_unserved, stream_logs
from informers.apiserver.core import ApiServer
from informers.apiserver.errors import StatusError
from informers.apiserver.errors.bounds import MAX_BODY, too_large
from informers.apiserver.errors.refusals import bad_request
from informers.apiserver.faults import ConnectionCut
from informers.apiserver.reading.watching import Watch, WatchOutcome
from informers.apiserver.requests.calls import Call, ListOutcome
from informers.apiserver.requests.deadlines import Deadline, TooLate, allowed_time
from informers.apiserver.requests.routes import RequestInfo, parse
from informers.apiserver.rest import serve
from informers.connection import LastAnswer
from informers.objects import Object, ObjectKey

log = logging.getLogger(__name__)

_REVIEWS = {(one.resource.group, one.resource.plural) for one in REVIEWS}
_NAMESPACED = {one.resource.plural for one in REVIEWS if one.resource.namespaced}
_WITH_BODY = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_VERBS = {"HEAD": "get", "POST": "create", "PUT": "update"}
"""Verbs of requests for paths, where they differ from the method."""
_ACTS = frozenset({"binding", "eviction", "token"})
_APPLY = "application/apply-patch+yaml"
_DEPRECATED: Mapping[tuple[str, str], str] = {
    ("", "componentstatuses"): "v1 ComponentStatus is deprecated in v1.19+",
    ("", "endpoints"): "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
}
_GONE = (ConnectionResetError, ClientConnectionResetError)
"""What a write raises when the client has hung up."""


class Front:
    """The aiohttp handler of every path.

    :param now: seconds since the epoch.
    :param logs: whoever can read the output of containers, or ``None``.
    """

    def __init__(
        self,
        core: ApiServer,
        access: Access,
        tokens: Tokens,
        documents: Documents,
        *,
        now: Callable[[], float],
        logs: Callable[[], Logs | None],
    ) -> None:
        self._core = core
        self._access = access
        self._tokens = tokens
        self._documents = documents
        self._reviews = Reviews(access.policy, tokens)
        self._now = now
        self._logs = logs
        self._hooks = Hooks(core)

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer, as pretty as it is wanted; whatever is raised becomes a ``Status``."""
        answer = await self._answered(request)
        if request.method == "CONNECT" or still_waits(request):
            # What comes next may be this request's body or another request.
            answer.force_close()
        if isinstance(answer, web.Response) and answer.content_type == JSON and is_pretty(request):
            assert isinstance(answer.body, bytes)
            answer.body = msgspec.json.format(answer.body, indent=2)
        return answer

    async def _answered(self, request: web.BaseRequest) -> web.StreamResponse:
        if cannot_be_met(request):
            return LastAnswer(status=417)
        try:
            # Read before it is known who asks, as a real server does.
            deadline = Deadline(allowed_time(request.method, request.path, request.query))
            user = self._access.identify(request.headers, request.headers.getall("Impersonate-Group", ()))
            deadline.check()
            async with deadline.enforced():
                return await self._answer(request, user, deadline)
        except StatusError as error:
            return _refusal(error)
        except web.HTTPRequestEntityTooLarge:
            return _refusal(too_large(f"limit is {MAX_BODY}"))
        except web.RequestPayloadError as error:
            refusal = bad_request(f"the request's body cannot be read: {error}")
            return LastAnswer(status=refusal.code, body=encode(refusal.status(), JSON), content_type=JSON)
        except ConnectionCut:
            # A fault rule wants the client to hear nothing, not even the end of the connection.
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=499)
        except _GONE:
            # Nobody is there to read an answer; aiohttp wants one all the same.
            return web.Response(status=499)
        except Exception:
            log.exception("%s %s", request.method, request.path)
            return _refusal(StatusError(500, "InternalError", "internal error; see the log of the sandbox"))

    async def _answer(
        self, request: web.BaseRequest, user: Identity, deadline: Deadline
    ) -> web.StreamResponse:
        path = request.path
        if is_health(path):
            self._access.require(user, Attributes(_verb_of(request.method), path=path))
            said = report(path, request.query)
            return _no_page() if said is None else web.Response(text=said)
        if request.method == "GET":
            document = self._document(request, user)
            if document is not None:
                return document
        if path.startswith(PREFIX):
            return await self._hook(request, user)
        if (found := _review_at(path)) is not None:
            return await self._review(request, user, *found)
        try:
            info = parse(self._core.registry, request.method, path, request.query)
        except StatusError as error:
            if error.code == 404:
                # Whether a path exists is for those to know who may ask.
                self._access.require(user, Attributes(_verb_of(request.method), path=path))
                if not self._known(path):
                    return _no_page()
            raise
        self._access.require(user, _attributes(info))
        return await self._resource(request, user, info, deadline)

    def _known(self, path: str) -> bool:
        """Whether a path begins as those of resources do; elsewhere answers are plain text."""
        match path.strip("/").split("/"):
            case ["api", _, *_]:
                return True
            case ["apis", group, _, *_]:
                groups = {one.resource.group for one in self._core.registry.types()}
                return group in groups.union(one.resource.group for one in REVIEWS)
        return False

    def _document(self, request: web.BaseRequest, user: Identity) -> web.Response | None:
        if not is_document(request.path):
            return None
        found = self._documents.answer(request.path, Wanted(), request.host)
        if found is None:
            # In which form it is wanted does not matter where there is none.
            return None
        if isinstance(found, Encoded):
            self._access.require(user, Attributes("get", path=request.path))
            wanted = negotiate(request.headers.get("Accept", ""), shapes=frozenset(), forms=found.forms)
            found = self._documents.answer(request.path, wanted, request.host)
            assert isinstance(found, Encoded)
            return _unless_known(request, found, wanted.media_type)
        wanted = negotiate(request.headers.get("Accept", ""), shapes=frozenset({Shape.AGGREGATED_V2}))
        found = self._documents.answer(request.path, wanted, request.host)
        assert found is not None and not isinstance(found, Encoded)
        self._access.require(user, Attributes("get", path=request.path))
        content_type = wanted.media_type
        if wanted.shape is Shape.AGGREGATED_V2:
            content_type = f"{JSON};g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        body = encode(found, wanted.media_type)
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _resource(
        self, request: web.BaseRequest, user: Identity, info: RequestInfo, deadline: Deadline
    ) -> web.StreamResponse:
        if info.subresource:
            refuse_unserved(info.subresource)
        if info.subresource == "log":
            pod = self._object(info)
            return await stream_logs(request, pod, info.query, self._logs())
        wanted = negotiate(request.headers.get("Accept", ""), shapes=_shapes_of(info.subresource))
        body, content_type = None, JSON
        if request.method in _WITH_BODY:
            body, content_type = await _body_of(request)
        deadline.check()
        if content_type == _APPLY and not info.subresource and self._missing(info):
            # Applying what is not there is creating it.
            self._access.require(user, replace(_attributes(info), verb="create"))
        if info.subresource == "token":
            token = issue_token(self._tokens, self._object(info), _object_in(body))
            return _json(201, partial(token) if wanted.shape is Shape.PARTIAL else token, wanted)
        user_agent = request.headers.get("User-Agent", "")
        # What can still be refused comes first: a watch that was opened must reach its reader, or leak.
        include = info.query.get("includeObject", "") if wanted.shape is Shape.TABLE else ""
        renderer = Renderer(info.type, wanted, include_object(include), self._now)
        call = Call(info, body, content_type, user.name, user_agent, user.as_user_info())
        outcome = await serve(self._core, call)
        if isinstance(outcome, WatchOutcome):
            return await self._stream(request, outcome.watch, renderer)
        if isinstance(outcome, ListOutcome):
            warnings = _deprecation(info)
            return _bytes(200, renderer.many(outcome.items, outcome.metadata), renderer, warnings=warnings)
        if outcome.stored is not None and wanted == Wanted():
            payload = outcome.stored.encoded
        else:
            payload = renderer.one(outcome.obj)
        warnings = (*_deprecation(info), *outcome.warnings)
        return _bytes(outcome.code, payload, renderer, warnings=warnings)

    async def _hook(self, request: web.BaseRequest, user: Identity) -> web.Response:
        self._access.require(user, Attributes(_verb_of(request.method), path=request.path))
        body = (await _body_of(request))[0] if request.method == "POST" else None
        return _json(200, self._hooks.answer(request.method, request.path, request.query, body), Wanted())

    async def _review(
        self, request: web.BaseRequest, user: Identity, group: str, namespace: str, plural: str
    ) -> web.Response:
        if request.method != "POST":
            raise StatusError(
                405, "MethodNotAllowed", "the server does not allow this method on the requested resource"
            )
        self._access.require(user, Attributes("create", group, plural, namespace=namespace))
        wanted = negotiate(request.headers.get("Accept", ""), shapes=frozenset())
        body, _ = await _body_of(request)
        return _json(201, self._reviews.answer(plural, user, namespace, _object_in(body)), wanted)

    def _missing(self, info: RequestInfo) -> bool:
        return self._core.find(info.type.resource, ObjectKey(info.namespace, info.name)) is None

    def _object(self, info: RequestInfo) -> Object:
        found = self._core.find(info.type.resource, ObjectKey(info.namespace, info.name))
        if found is None:
            plural = str(info.type.resource)
            details = {"name": info.name, "kind": info.type.resource.plural}
            raise StatusError(404, "NotFound", f'{plural} "{info.name}" not found', details)
        return found

    @staticmethod
    async def _stream(request: web.BaseRequest, watch: Watch, renderer: Renderer) -> web.StreamResponse:
        # Events are lines of JSON, whatever shape their objects have.
        response = web.StreamResponse(headers={"Content-Type": JSON})
        try:
            await response.prepare(request)
            async for event in watch:
                # What has come up meanwhile goes out in one piece: under load that is most of the work.
                events = [event, *watch.due()]
                lines = [renderer.event(one.kind, one.stored, one.obj) for one in events]
                await response.write(b"".join(lines))
            await response.write_eof()
        except _GONE:
            # The ordinary end of a watch: the client has seen enough.
            pass
        finally:
            watch.close()
        return response


def _unless_known(request: web.BaseRequest, document: Encoded, media_type: str) -> web.Response:
    """A document, or 304 when the client says that it has just this one."""
    headers = {"ETag": f'"{document.digest}"', "Cache-Control": "no-cache, private", "Vary": "Accept"}
    if any(tag.value in ("*", document.digest) for tag in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    return web.Response(body=document.body, headers={"Content-Type": media_type, **headers})


def _review_at(path: str) -> tuple[str, str, str] | None:
    """Group, namespace and plural when the path is that of a question, see :class:`Reviews`."""
    match path.strip("/").split("/"):
        case ["apis", group, "v1", plural] if (group, plural) in _REVIEWS and plural not in _NAMESPACED:
            return group, "", plural
        case ["apis", group, "v1", "namespaces", namespace, plural] if plural in _NAMESPACED:
            return (group, namespace, plural) if (group, plural) in _REVIEWS else None
    return None


async def _body_of(request: web.BaseRequest) -> tuple[Any, str]:
    """The decoded body, and what it was encoded as."""
    content_type = media_type(request.headers.get("Content-Type", ""))
    await ask_for_body(request)
    return read_body(await request.read(), content_type, method=request.method), content_type


def _attributes(info: RequestInfo) -> Attributes:
    resource = info.type.resource
    return Attributes(
        info.verb,
        resource.group,
        resource.plural,
        info.subresource,
        # Whoever may read a namespace's objects may read the namespace: it counts as being in itself.
        info.name if (resource.group, resource.plural) == ("", "namespaces") else info.namespace,
        info.name,
    )


def _no_page() -> web.Response:
    return web.Response(status=404, text="404 page not found\n")


def _deprecation(info: RequestInfo) -> tuple[str, ...]:
    """The warning about kinds that have a successor."""
    resource = info.type.resource
    said = _DEPRECATED.get((resource.group, resource.plural))
    return (said,) if said is not None else ()


def _shapes_of(subresource: str) -> frozenset[Shape]:
    """The shapes there are beside the plain object: what is done to an object makes no table."""
    return frozenset(Shape) - ({Shape.TABLE} if subresource in _ACTS else set())


def _verb_of(method: str) -> str:
    return _VERBS.get(method, method.lower())


def _object_in(body: Any) -> Object:
    if not isinstance(body, dict):
        raise StatusError(400, "BadRequest", "the request body must be an object")
    return body


def _json(code: int, value: Any, wanted: Wanted) -> web.Response:
    return web.Response(
        status=code, body=encode(value, wanted.media_type), headers={"Content-Type": wanted.media_type}
    )


def _bytes(code: int, body: bytes, renderer: Renderer, *, warnings: tuple[str, ...] = ()) -> web.Response:
    response = web.Response(status=code, body=body, headers={"Content-Type": renderer.content_type})
    for warning in warnings:
        text = warning.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
        response.headers.add("Warning", f'299 - "{text}"')
    return response


def _refusal(error: StatusError) -> web.Response:
    if isinstance(error, TooLate):
        return web.Response(status=error.code, text=encode(error.status(), JSON).decode())
    response = _json(error.code, error.status(), Wanted())
    retry: Mapping[str, Any] = error.details
    if seconds := retry.get("retryAfterSeconds"):
        response.headers["Retry-After"] = str(seconds)
    return response
