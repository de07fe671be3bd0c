"""The subresources ``binding`` and ``eviction`` of pods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from informers.apiserver.builtin.eviction import evictable
from informers.apiserver.errors.refusals import bad_request, conflict, not_found
from informers.apiserver.kinds.table import DISRUPTION_BUDGET, POD
from informers.apiserver.reading.selection import stored_of
from informers.apiserver.requests.calls import Call, ObjectOutcome, success
from informers.apiserver.requests.parameters import delete_options, write_options
from informers.apiserver.store import Stored
from informers.apiserver.writing.backend import Backend
from informers.apiserver.writing.deleting import delete_object
from informers.objects import Object, Resource

_BINDING = Resource("", "v1", "pods/binding", "Binding")
_EVICTED: Object = {
    "type": "DisruptionTarget",
    "status": "True",
    "reason": "EvictionByEvictionAPI",
    "message": "Eviction API: evicting",
}
_BUDGETS = (DISRUPTION_BUDGET.group, DISRUPTION_BUDGET.plural)


def _pod(backend: Backend, call: Call) -> Stored:
    found = stored_of(backend.store, call.info)
    if found is None:
        raise not_found(call.info.type.resource, call.info.name)
    return found


def _body(call: Call, kind: str) -> Mapping[str, object]:
    body = call.body
    if not isinstance(body, Mapping) or body.get("kind", kind) != kind:
        raise bad_request(f"the body of the request is not a {kind}")
    metadata = body.get("metadata") or {}
    if not isinstance(metadata, Mapping):
        raise bad_request(f"metadata of a {kind} must be an object")
    name = metadata.get("name")
    if name not in (None, "", call.info.name):
        raise bad_request(f"name in URL does not match name in {kind} object")
    return body


def bind(backend: Backend, call: Call) -> ObjectOutcome:
    """POST pods/binding: the pod runs on that node from now on.

    :raises StatusError: 409 when it already runs on one, or is being deleted.
    """
    pod = _pod(backend, call)
    target = _body(call, "Binding").get("target")
    node = target.get("name") if isinstance(target, Mapping) else None
    if not isinstance(node, str) or not node:
        raise bad_request("target.name must name a node")
    obj = pod.obj
    if obj["metadata"].get("deletionTimestamp"):
        why = f"pod {call.info.name} is being deleted, cannot be assigned to a host"
        raise conflict(_BINDING, call.info.name, why)
    if obj["spec"].get("nodeName"):
        why = f'pod {call.info.name} is already assigned to node "{obj["spec"]["nodeName"]}"'
        raise conflict(_BINDING, call.info.name, why)
    if not write_options(call.info.query).dry_run:
        backend.put(call.info.type, _bound(obj, node, backend.now()))
    return success(code=201)


def bind_any(backend: Backend, call: Call) -> ObjectOutcome:
    """POST to the collection of bindings: as :func:`bind`, of the pod that the body names.

    :raises StatusError: 400 when it names none.
    """
    metadata = call.body.get("metadata") if isinstance(call.body, Mapping) else None
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    pods = backend.registry.of(POD)
    if not isinstance(name, str) or not name or pods is None:
        raise bad_request("metadata.name must name the pod to bind")
    return bind(backend, replace(call, info=replace(call.info, type=pods, name=name, subresource="binding")))


def _bound(obj: Object, node: str, now: str) -> Object:
    bound = {**obj, "spec": {**obj["spec"], "nodeName": node}}
    return _with_condition(bound, {"type": "PodScheduled", "status": "True", "lastTransitionTime": now})


def _with_condition(obj: Object, condition: Object) -> Object:
    status = obj.get("status", {})
    others = [one for one in status.get("conditions") or () if one["type"] != condition["type"]]
    return {**obj, "status": {**status, "conditions": [*others, condition]}}


def evict(backend: Backend, call: Call) -> ObjectOutcome:
    """POST pods/eviction: delete the pod if its disruption budget allows it.

    :raises StatusError: 429 when it does not, 500 when several budgets are about the pod.
    """
    pod = _pod(backend, call)
    options = delete_options({}, _body(call, "Eviction").get("deleteOptions"))
    dry_run = options.dry_run or write_options(call.info.query).dry_run
    namespace = pod.key.namespace
    budgets = [one.obj for one in backend.store.shelf(_BUDGETS).in_namespace(namespace)]
    decision = evictable(pod.obj, budgets, backend.now())
    if decision.refusal is not None:
        raise decision.refusal
    if not dry_run:
        if decision.budget_update is not None:
            type_ = backend.registry.of(DISRUPTION_BUDGET)
            assert type_ is not None
            backend.put(type_, decision.budget_update)
        if not pod.obj["metadata"].get("deletionTimestamp"):
            evicted = {**_EVICTED, "lastTransitionTime": backend.now()}
            backend.put(call.info.type, _with_condition(pod.obj, evicted))
        delete_object(backend, call.info.type, pod.key, options)
    return success(code=201)
