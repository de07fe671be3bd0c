"""From an HTTP request to its answer: who asks, whether they may, what they get, in the shape they want."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import Any

from aiohttp import ClientConnectionResetError, web

from etl_operator.sandbox.apiserver.access import Access
from etl_operator.sandbox.apiserver.discovery import REVIEWS
from etl_operator.sandbox.apiserver.documents import Documents
from etl_operator.sandbox.apiserver.identity import Identity
from etl_operator.sandbox.apiserver.negotiation import (
    JSON,
    Shape,
    check_content_type,
    decode_body,
    encode,
    media_type,
    negotiate,
)
from etl_operator.sandbox.apiserver.rbac import Attributes
from etl_operator.sandbox.apiserver.rendering import Renderer
from etl_operator.sandbox.apiserver.reviews import Reviews
from etl_operator.sandbox.apiserver.special import Logs, issue_token, refuse_unserved, stream_logs
from etl_operator.sandbox.apiserver.tables import include_object
from etl_operator.sandbox.apiserver.tokens import Tokens
from informers.objects import ObjectKey
from informers.testing.apiserver.core import ApiServer
from informers.testing.apiserver.errors import StatusError
from informers.testing.apiserver.rest import ListOutcome, ObjectOutcome, WatchOutcome, handle
from informers.testing.apiserver.routes import RequestInfo, parse

log = logging.getLogger(__name__)

MAX_BODY = 3 * 1024 * 1024
"""Bytes of a request body, as in the real server."""

_HEALTH = frozenset({"/healthz", "/livez", "/readyz"})
_REVIEWS = {(one.resource.group, one.resource.plural) for one in REVIEWS}
_WITH_BODY = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class Front:
    """The aiohttp handler of every path.

    :param now: seconds since the epoch.
    :param address: ``host:port`` for clients that ask where the server is.
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

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Answer; whatever is raised becomes a ``Status``."""
        try:
            user = self._access.identify(request.headers, request.headers.getall("Impersonate-Group", ()))
            return await self._answer(request, user)
        except StatusError as error:
            return _status(error)
        except web.HTTPRequestEntityTooLarge:
            return _status(StatusError(413, "RequestEntityTooLarge", f"limit is {MAX_BODY} bytes"))
        except (ConnectionResetError, ClientConnectionResetError):
            raise
        except Exception:
            log.exception("%s %s", request.method, request.path)
            return _status(StatusError(500, "InternalError", "internal error; the server's log says more"))

    async def _answer(self, request: web.Request, user: Identity) -> web.StreamResponse:
        path = request.path
        if path.rstrip("/") in _HEALTH:
            self._access.require(user, Attributes(request.method.lower(), path=path))
            return web.Response(text="ok")
        if request.method == "GET":
            document = self._document(request, user)
            if document is not None:
                return document
        info = parse(self._core.registry, request.method, path, request.query)
        return await self._resource(request, user, info)

    def _document(self, request: web.Request, user: Identity) -> web.Response | None:
        wanted = negotiate(request.headers.get("Accept", ""), shapes=frozenset({Shape.AGGREGATED_V2}))
        found = self._documents.answer(request.path, wanted, request.host)
        if found is None:
            return None
        self._access.require(user, Attributes("get", path=request.path))
        content_type = wanted.media_type
        if wanted.shape is Shape.AGGREGATED_V2:
            content_type = f"{JSON};g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        body = found if isinstance(found, bytes) else encode(found, wanted.media_type)
        return web.Response(body=body, headers={"Content-Type": content_type})
