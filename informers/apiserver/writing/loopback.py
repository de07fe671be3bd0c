"""Writes of the server's own controllers: through all checks, as a client with every permission."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

from informers.apiserver.errors.refusals import method_not_allowed, no_such_path
from informers.apiserver.kinds.registry import ResourceType
from informers.apiserver.requests.calls import Call
from informers.apiserver.requests.parameters import DeleteOptions
from informers.apiserver.requests.routes import RequestInfo
from informers.apiserver.writing import creating, updating
from informers.apiserver.writing.backend import Backend
from informers.apiserver.writing.deleting import delete_object
from informers.objects import Object, ObjectKey, Resource

SYSTEM = "system:apiserver"
"""The user name that the journal of writes shows for the server itself."""


def create(backend: Backend, obj: Object) -> Object:
    """Create an object.

    :raises StatusError: what the client would see; 404 for a kind that is not served, 405 without a
        namespace where there must be one.
    """
    type_ = backend.registry.of_kind(obj["apiVersion"], obj["kind"])
    if type_ is None:
        error = no_such_path()
        error.add_note(f"this server does not serve {obj['kind']} of {obj['apiVersion']}")
        raise error
    namespace = obj["metadata"].get("namespace", "") if type_.resource.namespaced else ""
    if type_.resource.namespaced and not namespace:
        error = method_not_allowed()
        error.add_note(f"{type_.resource} are namespaced, and metadata.namespace is not set")
        raise error
    return creating.create(backend, _call("create", type_, namespace, "", copy.deepcopy(obj))).obj


def edit(
    backend: Backend,
    resource: Resource,
    key: ObjectKey,
    change: Callable[[Object], Object],
    *,
    subresource: str = "",
    user: str = SYSTEM,
    manager: str = "kube-controller-manager",
) -> Object:
    """Read, change and update an object.

    :param change: gets a copy it may work on, and returns what to write.
    :raises StatusError: what the client would see; 404 when it is not there.
    """
    type_, live = _type(backend, resource), backend.find(resource, key)
    body = change(copy.deepcopy(live)) if live is not None else {}
    call = _call("update", type_, *key, body, subresource=subresource, user=user, manager=manager)
    return updating.update(backend, call).obj


def delete(backend: Backend, resource: Resource, key: ObjectKey, options: DeleteOptions) -> None:
    """Delete an object, or begin to.

    :raises StatusError: 404 when it is not there; 409 when a precondition does not hold.
    """
    delete_object(backend, _type(backend, resource), key, options)


def _type(backend: Backend, resource: Resource) -> ResourceType:
    type_ = backend.registry.of(resource)
    if type_ is None:
        raise no_such_path()
    return type_


def _call(
    verb: str,
    type_: ResourceType,
    namespace: str,
    name: str,
    body: Object,
    *,
    subresource: str = "",
    user: str = SYSTEM,
    manager: str = "",
) -> Call:
    query: Mapping[str, str] = {"fieldManager": manager} if manager else {}
    info = RequestInfo(verb, type_, namespace, name, subresource, query)
    return Call(info, body, user=user, user_agent="apiserver")
