"""Lists, whole and in pages."""

from __future__ import annotations

import base64
import binascii
import json
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, NamedTuple

from informers.apiserver.errors.refusals import bad_request, expired, from_the_future
from informers.apiserver.reading.selection import Selection
from informers.apiserver.requests.parameters import ListOptions
from informers.apiserver.store import Shelf, Store, Stored

_PAGE_EXPIRED = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new "
    "list without the continue parameter, or use the continue token in this response to retrieve the "
    "remainder of the results. Continuing with the provided token results in an inconsistent list - objects "
    "that were created, modified, or deleted between the time the first chunk was returned and now may show "
    "up in the list."
)
_ANY = -1
"""In a token: continue with what is there now, whatever happened since the first page."""


class Page(NamedTuple):
    """Some objects and the list's ``metadata``."""

    items: Sequence[Stored]
    metadata: dict[str, Any]


class _Position(NamedTuple):
    revision: int
    start: str


def list_objects(store: Store, selection: Selection, options: ListOptions) -> Page:
    """The objects of a selection.

    :raises StatusError: 410 for a revision or page that is not known any more; 504 for a revision that does
        not exist yet; 400 for a token this server did not give.
    """
    shelf = store.shelf(selection.type.storage)
    position = _position(store, options)
    wanted = store.revision if position.revision == _ANY else position.revision
    if wanted == store.revision and not options.limit and not position.start:
        found = _current(shelf, selection)
        return Page(found, {"resourceVersion": str(wanted)})
    everything = shelf.snapshot(wanted)
    if everything is None:
        if options.token:
            raise expired(_PAGE_EXPIRED, _token(_Position(_ANY, position.start)))
        raise expired("The resourceVersion for the provided list is too old.")
    return _page(shelf, everything, selection, options.limit, _Position(wanted, position.start))


def _current(shelf: Shelf, selection: Selection) -> Sequence[Stored]:
    items = shelf.in_namespace(selection.namespace) if selection.namespace else shelf.items()
    if selection.selective:
        items = [one for one in items if selection.matches(one)]
    api_version = selection.type.resource.api_version
    if all(one.obj["apiVersion"] == api_version for one in items):
        return items
    return [selection.show(one) for one in items]


def _position(store: Store, options: ListOptions) -> _Position:
    if options.token:
        if options.revision:
            raise bad_request("specifying resource version is not allowed when using continue")
        return _read_token(options.token)
    if options.revision is None or options.revision == 0:
        return _Position(store.revision, "")
    if options.revision > store.revision:
        raise from_the_future(options.revision, store.revision)
    # Without a word about it, a page is of the very revision that was named, a whole list is not older.
    exact = options.exact if options.exact is not None else bool(options.limit)
    return _Position(options.revision if exact else store.revision, "")


def _page(
    shelf: Shelf, everything: Sequence[Stored], selection: Selection, limit: int, position: _Position
) -> Page:
    metadata: dict[str, Any] = {"resourceVersion": str(position.revision)}
    first = selection.namespace + "/" if selection.namespace else ""
    start = bisect_left(everything, max(position.start, first), key=_path)
    end = len(everything)
    if selection.namespace:
        # "0" follows "/" in ASCII.
        end = bisect_left(everything, selection.namespace + "0", start, key=_path)
    items: list[Stored] = []
    for index in range(start, end):
        stored = everything[index]
        if selection.selective and not selection.matches(stored):
            continue
        if limit and len(items) == limit:
            shelf.keep_snapshot(position.revision)
            metadata["continue"] = _token(_Position(position.revision, _path(stored)))
            if not selection.selective:
                metadata["remainingItemCount"] = end - index
            break
        items.append(selection.show(stored))
    return Page(items, metadata)


def _path(stored: Stored) -> str:
    return f"{stored.key.namespace}/{stored.key.name}"


def _token(position: _Position) -> str:
    text = json.dumps({"v": "meta.k8s.io/v1", "rv": position.revision, "start": position.start})
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_token(token: str) -> _Position:
    try:
        found = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        return _Position(int(found["rv"]), str(found["start"]))
    except (binascii.Error, KeyError, TypeError, ValueError):
        raise bad_request("invalid continue token: continue key is not valid") from None
