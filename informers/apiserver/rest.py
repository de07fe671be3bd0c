"""One request, one outcome: what ``requests`` has understood is done here, without waiting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from informers.apiserver.errors.refusals import bad_request, from_the_future, not_found, not_implemented
from informers.apiserver.kinds.table import BINDING
from informers.apiserver.reading.listing import list_objects
from informers.apiserver.reading.selection import listed, selection, shown
from informers.apiserver.reading.watching import WatchOutcome, open_watch
from informers.apiserver.requests.calls import Call, ListOutcome, ObjectOutcome
from informers.apiserver.requests.parameters import list_options, revision_of
from informers.apiserver.requests.routes import ELSEWHERE, RequestInfo, flag
from informers.apiserver.reviews import REVIEW, review
from informers.apiserver.writing import deleting, patching, pods, scaling, write

if TYPE_CHECKING:
    from informers.apiserver.core import ApiServer

    _Handler: TypeAlias = Callable[[ApiServer, Call], "Outcome"]

__all__ = ["Outcome", "handle"]

Outcome: TypeAlias = ObjectOutcome | ListOutcome | WatchOutcome


def handle(core: ApiServer, call: Call) -> Outcome:
    """Do what a request asks.

    :raises StatusError: every refusal.
    """
    info = call.info
    if info.type is REVIEW:
        return review(core, call)
    if info.subresource in ELSEWHERE:
        raise not_implemented(f"this server has no {info.subresource}: nothing runs behind it")
    special = pods.bind_any if info.type.resource == BINDING else _SUBRESOURCES.get(info.subresource)
    before = core.store.revision
    outcome = (special or _VERBS[info.verb])(core, call)
    if core.store.revision != before:
        core.journal.record(core, call)
    return outcome


def _get(core: ApiServer, call: Call) -> ObjectOutcome:
    info = call.info
    if flag(info.query, "export"):
        raise bad_request("the export parameter, deprecated since v1.14, is no longer supported")
    wanted = revision_of(info.query.get("resourceVersion", ""))
    if wanted and wanted > core.store.revision:
        raise from_the_future(wanted, core.store.revision)
    stored = core.stored(info)
    if stored is None:
        raise not_found(info.type.resource, info.name)
    answer = shown(info.type, stored)
    return ObjectOutcome(200, answer.obj, answer)


def _list(core: ApiServer, call: Call) -> ListOutcome:
    info = call.info
    options = list_options(info.query, watch=False)
    chosen = selection(info.type, info.namespace, options.labels, options.fields)
    page = list_objects(core.store, chosen, options)
    return ListOutcome(listed(info.type, page.items), page.metadata)


def _watch(core: ApiServer, call: Call) -> WatchOutcome:
    info = call.info
    options = list_options(info.query, watch=True)
    chosen = selection(info.type, info.namespace, options.labels, _fields(info, options.fields))
    return WatchOutcome(open_watch(core.store, chosen, options, core.flow, core.rng))


def _fields(info: RequestInfo, selector: str) -> str:
    """The field selector of a watch; an object named by the path is selected by its name."""
    if not info.name:
        return selector
    by_name = f"metadata.name={info.name}"
    if selector and by_name not in selector.replace("==", "=").split(","):
        raise bad_request("fieldSelector metadata.name doesn't match requested name")
    return selector or by_name


_VERBS: Mapping[str, _Handler] = {
    "create": write.create,
    "delete": deleting.delete,
    "deletecollection": deleting.delete_many,
    "get": _get,
    "list": _list,
    "patch": patching.patch,
    "update": write.update,
    "watch": _watch,
}
_SUBRESOURCES: Mapping[str, _Handler] = {
    "binding": pods.bind,
    "eviction": pods.evict,
    "scale": scaling.scale,
}
