"""The read requests: get, list and watch."""

from __future__ import annotations

import random

from informers.apiserver.errors.refusals import bad_request, from_the_future, not_found
from informers.apiserver.reading.listing import list_objects
from informers.apiserver.reading.selection import listed, selection, shown, stored_of
from informers.apiserver.reading.watching import Flow, WatchOutcome, open_watch
from informers.apiserver.requests.calls import Call, ListOutcome, ObjectOutcome
from informers.apiserver.requests.parameters import list_options, revision_of
from informers.apiserver.requests.routes import RequestInfo, flag
from informers.apiserver.store import Store


def get_one(store: Store, call: Call) -> ObjectOutcome:
    """GET of one object.

    :raises StatusError: 404; 400 and 504 for parameters that cannot be met.
    """
    info = call.info
    if flag(info.query, "export"):
        raise bad_request("the export parameter, deprecated since v1.14, is no longer supported")
    wanted = revision_of(info.query.get("resourceVersion", ""))
    if wanted and wanted > store.revision:
        raise from_the_future(wanted, store.revision)
    stored = stored_of(store, info)
    if stored is None:
        raise not_found(info.type.resource, info.name)
    answer = shown(info.type, stored)
    return ObjectOutcome(200, answer.obj, answer)


def get_list(store: Store, call: Call) -> ListOutcome:
    """GET of a collection, or of a page of it."""
    info = call.info
    options = list_options(info.query, watch=False)
    chosen = selection(info.type, info.namespace, options.labels, options.fields)
    page = list_objects(store, chosen, options)
    return ListOutcome(listed(info.type, page.items), page.metadata)


def watch(store: Store, call: Call, flow: Flow, rng: random.Random) -> WatchOutcome:
    """A watch of a collection, or of one object of it.

    :param rng: for the length of the watch and the times of its bookmarks.
    """
    info = call.info
    options = list_options(info.query, watch=True)
    chosen = selection(info.type, info.namespace, options.labels, _fields(info, options.fields))
    return WatchOutcome(open_watch(store, chosen, options, flow, rng))


def _fields(info: RequestInfo, selector: str) -> str:
    """The field selector of a watch; an object named by the path is selected by its name."""
    if not info.name:
        return selector
    by_name = f"metadata.name={info.name}"
    if selector and by_name not in selector.replace("==", "=").split(","):
        raise bad_request("fieldSelector metadata.name doesn't match requested name")
    return selector or by_name
