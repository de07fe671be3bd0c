"""Requests to the API server as values: method, path, query, body and content type. No I/O here.

Bodies are encoded once, compactly. A field manager is sent wherever the server records one; without it the
server would derive the manager from the user agent.

A request for one object raises :class:`informers.errors.BadRequest` for what can be no object's name. Without
a name the path would be that of all objects, and a deletion theirs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from informers.client.transport import HttpRequest
from informers.errors import BadRequest
from informers.objects import Object, ObjectKey, Resource

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
"""Server-side apply. JSON is YAML, so the body is JSON like every other."""

METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
METADATA_WATCH = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
"""Ask for metadata only; a server that cannot do so sends whole objects."""

TIMEOUT = 30.0
"""Seconds for one ordinary exchange."""
LIST_TIMEOUT = 300.0
"""Seconds for one page of a list, or all of it in one answer, as long as something comes."""
LIST_SILENCE = 60.0
"""Seconds without a byte after which a list is given up."""

_POD = Resource("", "v1", "pods", "Pod")
_NAME = re.compile(r"(?!\.{1,2}\Z)[^/%]+").fullmatch

_Query = list[tuple[str, str]]


def get(resource: Resource, key: ObjectKey, *, subresource: str = "") -> HttpRequest:
    """Read one object."""
    return HttpRequest("GET", _path(resource, key.namespace, key.name, subresource), timeout=TIMEOUT)


def list_page(
    resource: Resource,
    *,
    namespace: str = "",
    label_selector: str = "",
    field_selector: str = "",
    limit: int = 0,
    continue_token: str = "",
    resource_version: str = "",
    resource_version_match: str = "",
    metadata_only: bool = False,
    read_deadline: float = LIST_SILENCE,
) -> HttpRequest:
    """Read one page of a list.

    :param limit: objects per page; 0 asks for everything at once.
    :param resource_version: "" is the newest state, "0" any state; with ``resource_version_match``
        ``NotOlderThan`` a lower bound, with ``Exact`` that very state. A continuation carries its own
        version, so both are left out beside ``continue_token``.
    :param read_deadline: seconds without a byte after which the client gives the list up; however slowly it
        comes, it has :data:`LIST_TIMEOUT` in all.
    """
    query = _selection(label_selector, field_selector)
    if limit:
        query.append(("limit", str(limit)))
    if continue_token:
        query.append(("continue", continue_token))
    elif resource_version:
        query.append(("resourceVersion", resource_version))
        if resource_version_match:
            query.append(("resourceVersionMatch", resource_version_match))
    accept = METADATA_LIST if metadata_only else JSON
    return HttpRequest(
        "GET",
        resource.path(namespace),
        query,
        accept=accept,
        timeout=LIST_TIMEOUT,
        silence=read_deadline,
    )


def watch(
    resource: Resource,
    *,
    namespace: str = "",
    label_selector: str = "",
    field_selector: str = "",
    resource_version: str = "",
    initial_events: bool = False,
    server_timeout: int,
    read_deadline: float,
    metadata_only: bool = False,
) -> HttpRequest:
    """Open a watch, with bookmarks.

    :param initial_events: stream the present state first (a streaming list); ``resource_version`` is then a
        lower bound of that state.
    :param server_timeout: seconds after which the server ends the stream.
    :param read_deadline: seconds without a byte after which the client gives the connection up.
    """
    query = [("watch", "true"), *_selection(label_selector, field_selector)]
    query += [("allowWatchBookmarks", "true"), ("timeoutSeconds", str(server_timeout))]
    if resource_version:
        query.append(("resourceVersion", resource_version))
    if initial_events:
        query += [("sendInitialEvents", "true"), ("resourceVersionMatch", "NotOlderThan")]
    accept = METADATA_WATCH if metadata_only else JSON
    return HttpRequest("GET", resource.path(namespace), query, accept=accept, timeout=read_deadline)


def create(resource: Resource, body: Object, *, field_manager: str = "") -> HttpRequest:
    """Create an object; the namespace is the one in its metadata."""
    path = resource.path(_namespace(resource, body))
    return HttpRequest("POST", path, _managed(field_manager), encode(body), timeout=TIMEOUT)


def update(
    resource: Resource, body: Object, *, field_manager: str = "", subresource: str = ""
) -> HttpRequest:
    """Replace an object, or one of its subresources."""
    path = _path_of(resource, body, subresource)
    return HttpRequest("PUT", path, _managed(field_manager), encode(body), timeout=TIMEOUT)


def apply(
    resource: Resource, body: Object, *, field_manager: str, force: bool = False, subresource: str = ""
) -> HttpRequest:
    """Server-side apply.

    :param force: take fields over that another manager owns, instead of a conflict.
    """
    query = _managed(field_manager)
    if force:
        query.append(("force", "true"))
    path = _path_of(resource, body, subresource)
    if not (body.get("apiVersion") and body.get("kind")):
        # What a server says to that names neither.
        raise ValueError(f"{resource}: the object to apply needs apiVersion and kind")
    return HttpRequest("PATCH", path, query, encode(body), APPLY_PATCH, timeout=TIMEOUT)


def patch(
    resource: Resource,
    key: ObjectKey,
    change: Object | Sequence[Any],
    *,
    field_manager: str = "",
    subresource: str = "",
    content_type: str = MERGE_PATCH,
) -> HttpRequest:
    """Patch an object. A list is always a JSON patch, whatever ``content_type`` says."""
    path = _path(resource, key.namespace, key.name, subresource)
    kind = content_type if isinstance(change, dict) else JSON_PATCH
    return HttpRequest("PATCH", path, _managed(field_manager), encode(change), kind, timeout=TIMEOUT)


def delete(
    resource: Resource,
    key: ObjectKey,
    *,
    uid: str | None = None,
    resource_version: str | None = None,
    grace_period: int | None = None,
    propagation: str | None = None,
) -> HttpRequest:
    """Delete an object.

    :param uid: refuse (409) when the name meanwhile belongs to another object.
    :param resource_version: refuse (409) when the object has changed since.
    :param grace_period: seconds the object may take to go; the server's own default without.
    :param propagation: ``Background``, ``Foreground`` or ``Orphan``.
    """
    options: Object = {}
    preconditions = {"uid": uid, "resourceVersion": resource_version}
    if present := {name: value for name, value in preconditions.items() if value is not None}:
        options["preconditions"] = present
    if grace_period is not None:
        options["gracePeriodSeconds"] = grace_period
    if propagation is not None:
        options["propagationPolicy"] = propagation
    body = encode({"apiVersion": "v1", "kind": "DeleteOptions", **options}) if options else None
    return HttpRequest("DELETE", _path(resource, key.namespace, key.name), body=body, timeout=TIMEOUT)


def evict(key: ObjectKey) -> HttpRequest:
    """Evict a pod: a deletion that disruption budgets may refuse with 429."""
    body = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": key.name, "namespace": key.namespace},
    }
    path = _path(_POD, key.namespace, key.name, "eviction")
    return HttpRequest("POST", path, body=encode(body), timeout=TIMEOUT)


def encode(body: Any) -> bytes:
    """Compact JSON."""
    return msgspec.json.encode(body)


def _path(resource: Resource, namespace: str, name: str, subresource: str = "") -> str:
    """The path of one object."""
    if not _NAME(name) or (namespace and not _NAME(namespace)):
        where = f"{namespace}/{name}" if namespace else repr(name)
        raise BadRequest(400, "BadRequest", f"{resource} {where}: this is not a valid name of an object")
    return resource.path(namespace, name, subresource)


def _selection(label_selector: str, field_selector: str) -> _Query:
    query = []
    if label_selector:
        query.append(("labelSelector", label_selector))
    if field_selector:
        query.append(("fieldSelector", field_selector))
    return query


def _managed(field_manager: str) -> _Query:
    return [("fieldManager", field_manager)] if field_manager else []


def _path_of(resource: Resource, body: Object, subresource: str) -> str:
    """The path of the object in ``body``.

    :raises ValueError: when it does not say its name, or its namespace.
    """
    namespace = _namespace(resource, body)
    name = body["metadata"].get("name")
    if name is None:
        raise ValueError(f"{resource}: the object has no metadata.name")
    return _path(resource, namespace, name, subresource)


def _namespace(resource: Resource, body: Object) -> str:
    """Where the object is.

    :raises ValueError: when it should say so and does not: a server's answer to that is 404 or 405.
    """
    metadata = body.get("metadata")
    if not metadata:
        raise ValueError(f"{resource}: the object has no metadata")
    namespace: str = metadata.get("namespace", "")
    if resource.namespaced and not namespace:
        raise ValueError(f"{resource} are namespaced, and metadata.namespace is not set")
    return namespace
