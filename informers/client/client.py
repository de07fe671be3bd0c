"""The client: one method per verb, plain decoded objects in and out, refusals as exceptions.

It does not retry and does not cache. A retry belongs to whoever knows the key (the work queue), a cache to
:mod:`informers.cache`. The one exception, a renewed token after a 401, is the transport's.
"""

from __future__ import annotations

import email.utils
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from informers.client import requests
from informers.client.pace import Pace
from informers.client.transport import HttpRequest, HttpResponse, Transport
from informers.clock import Clock, SystemClock
from informers.errors import ApiError, TransportError, api_error
from informers.objects import Object, ObjectKey, Resource

_EXCERPT = 200
"""Characters of an unintelligible answer that are shown in the error."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list; every item carries ``apiVersion`` and ``kind``.

    :param resource_version: the state the list shows; a watch may start here.
    :param continue_token: "" on the last page.
    """

    items: list[Object]
    resource_version: str
    continue_token: str


class Client:
    """A client of one API server.

    Every method raises :class:`informers.errors.ApiError` (a subclass by status) when the server refuses,
    :class:`informers.errors.TransportError` when there is no answer, and writes raise
    :class:`informers.errors.Fenced` when ``fence`` does, and :class:`ValueError` for an object that lacks
    what its path is made of: metadata, a name, a namespace where there must be one.

    :param transport: carries the requests; :meth:`close` closes it.
    :param clock: for dates in ``Retry-After``; the machine's by default.
    :param fence: called before every write, and by the transport when it leaves; raises when this process may
        not write any more.
    :param writes_per_second: at most so many, all writes together; the others wait for their turn. A second's
        worth may leave at once after a pause. No limit by default: the server has its own.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        clock: Clock | None = None,
        fence: Callable[[], None] | None = None,
        writes_per_second: float = 0.0,
    ) -> None:
        self.transport = transport
        self._clock = clock or SystemClock()
        self._fence = fence
        self._pace = Pace(writes_per_second, clock=self._clock) if writes_per_second else None

    async def get(self, resource: Resource, key: ObjectKey, *, subresource: str = "") -> Object:
        """Read one object from the server.

        :raises informers.errors.NotFound: when there is none.
        """
        return await self._send(requests.get(resource, key, subresource=subresource))

    async def list(
        self,
        resource: Resource,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 0,
        continue_token: str = "",
        resource_version: str = "",
        resource_version_match: str = "",
    ) -> Page:
        """Read one page; see :func:`informers.client.requests.list_page`.

        :raises informers.errors.Gone: when ``continue_token`` is too old.
        """
        answer = await self._send(
            requests.list_page(
                resource,
                namespace=namespace,
                label_selector=label_selector,
                field_selector=field_selector,
                limit=limit,
                continue_token=continue_token,
                resource_version=resource_version,
                resource_version_match=resource_version_match,
            )
        )
        if "items" not in answer:
            raise TransportError(f"{resource}: the answer is no list")
        meta = answer.get("metadata") or {}
        # The server leaves type information out of the items of built-in kinds.
        kind = {"apiVersion": resource.api_version, "kind": resource.kind}
        items = [{**kind, **item} for item in answer.get("items") or ()]
        return Page(items, meta.get("resourceVersion", ""), meta.get("continue") or "")

    async def create(self, resource: Resource, body: Object, *, field_manager: str = "") -> Object:
        """Create an object and return it as stored.

        :raises informers.errors.AlreadyExists: when the name is taken.
        """
        return await self._write(requests.create(resource, body, field_manager=field_manager))

    async def update(
        self, resource: Resource, body: Object, *, field_manager: str = "", subresource: str = ""
    ) -> Object:
        """Replace an object; with ``metadata.resourceVersion`` only if it has not changed since.

        :raises informers.errors.Conflict: when it has.
        """
        return await self._write(
            requests.update(resource, body, field_manager=field_manager, subresource=subresource)
        )

    async def apply(
        self,
        resource: Resource,
        body: Object,
        *,
        field_manager: str,
        force: bool = False,
        subresource: str = "",
    ) -> Object:
        """Server-side apply: create the object or make the fields in ``body`` so, and own them.

        :param body: with ``apiVersion`` and ``kind``, name, and namespace where there is one.
        :raises informers.errors.Conflict: without ``force``, when another manager owns one of the fields.
        """
        return await self._write(
            requests.apply(resource, body, field_manager=field_manager, force=force, subresource=subresource)
        )

    async def patch(
        self,
        resource: Resource,
        key: ObjectKey,
        patch: Object | Sequence[Any],
        *,
        field_manager: str = "",
        subresource: str = "",
        content_type: str = requests.MERGE_PATCH,
    ) -> Object:
        """Patch an object: a dict is a merge patch unless ``content_type`` differs, a list a JSON patch."""
        return await self._write(
            requests.patch(
                resource,
                key,
                patch,
                field_manager=field_manager,
                subresource=subresource,
                content_type=content_type,
            )
        )

    async def update_status(self, resource: Resource, body: Object, *, field_manager: str) -> Object:
        """Own the status: a forced server-side apply on the status subresource.

        :param body: ``apiVersion``, ``kind``, ``metadata`` with name and namespace, and ``status``.
        """
        return await self.apply(resource, body, field_manager=field_manager, force=True, subresource="status")

    async def delete(
        self,
        resource: Resource,
        key: ObjectKey,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        grace_period: int | None = None,
        propagation: str | None = None,
    ) -> Object:
        """Delete an object; see :func:`informers.client.requests.delete`.

        :returns: the object while finalizers or a grace period hold it, a ``Status`` when it is gone.
        :raises informers.errors.Conflict: when ``uid`` or ``resource_version`` do not match any more.
        """
        return await self._write(
            requests.delete(
                resource,
                key,
                uid=uid,
                resource_version=resource_version,
                grace_period=grace_period,
                propagation=propagation,
            )
        )

    async def evict(self, key: ObjectKey) -> Object:
        """Evict a pod.

        :raises informers.errors.TooManyRequests: when a disruption budget says not now.
        """
        return await self._write(requests.evict(key))

    async def raw(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Sequence[tuple[str, str]] = (),
        content_type: str = requests.JSON,
    ) -> Object:
        """Any request to any path; the answer must be JSON. Everything but GET counts as a write."""
        encoded = None if body is None else requests.encode(body)
        request = HttpRequest(method, path, query, encoded, content_type, timeout=requests.TIMEOUT)
        return await (self._send(request) if method == "GET" else self._write(request))

    async def close(self) -> None:
        """Close the transport."""
        await self.transport.close()

    async def _write(self, request: HttpRequest) -> Object:
        if self._pace is not None:
            await self._pace.turn()
        if self._fence is not None:
            self._fence()
            # Again when it leaves: a credential and a connection take their time, and this process may be
            # stopped meanwhile.
            request = replace(request, fence=self._fence)
        return await self._send(request)

    async def _send(self, request: HttpRequest) -> Object:
        response = await self.transport.request(request)
        if not 200 <= response.status < 300:
            raise error_of(response, self._clock)
        if not response.body:
            return {}
        try:
            answer: Object = msgspec.json.decode(response.body)
        except (ValueError, RecursionError) as error:
            raise TransportError(f"{request.method} {request.path}: answer is not JSON: {error}") from error
        return answer


def error_of(response: HttpResponse, clock: Clock) -> ApiError:
    """The exception for a refusal. A body that is no ``Status`` (a proxy's page) becomes its message."""
    try:
        body = msgspec.json.decode(response.body, type=dict[str, Any])
    except (ValueError, RecursionError):
        body = {"message": response.body[:_EXCERPT].decode(errors="replace").strip()}
    return api_error(response.status, body, _retry_after(response.headers.get("retry-after"), clock))


def _retry_after(value: str | None, clock: Clock) -> float | None:
    """Seconds to wait, from either form of the header: a number or a date."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - clock.time())
    except (ValueError, OverflowError):
        return None
