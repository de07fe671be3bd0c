"""JSON patch, merge patch and strategic merge patch. No function changes its arguments."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from informers.apiserver.errors import StatusError
from informers.apiserver.errors.bounds import MAX_BODY, check_depth, too_large
from informers.apiserver.schema.node import Node
from informers.objects import Object

__all__ = ["json_patch", "merge_patch", "strategic_merge"]

MAX_OPERATIONS = 10_000
"""Operations of one JSON patch."""

_MISUSED = (TypeError, KeyError, IndexError, ValueError, AttributeError, RecursionError)
"""What the library raises for operations that make no sense, beside its own exceptions."""

_PATCH = "$patch"
_RETAIN = "$retainKeys"
_ORDER = "$setElementOrder/"
_DELETE = "$deleteFromPrimitiveList/"


def merge_patch(target: Any, patch: Any) -> Any:
    """JSON merge patch, RFC 7386: nulls remove, maps are merged, everything else is replaced."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def json_patch(target: Object, operations: Any) -> Object:
    """JSON patch, RFC 6902.

    :raises StatusError: 400 for what is no list of operations, 413 for too many of them, 422 when one of
        them fails: a test that does not hold, a place that is not there.
    """
    if not isinstance(operations, list) or not all(isinstance(one, dict) for one in operations):
        raise StatusError(400, "BadRequest", "error decoding patch: a JSON patch is a list of operations")
    if len(operations) > MAX_OPERATIONS:
        raise too_large(
            f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(operations)}"
        )
    # Imported here: whoever tests with the simulation and sends no such patch works without the library.
    import jsonpatch

    result, room = copy.deepcopy(target), MAX_BODY
    try:
        for one in operations:
            if one.get("op") == "copy":
                # Copies of copies grow by powers of two.
                room -= len(msgspec.json.encode(jsonpatch.JsonPointer(one["from"]).resolve(result)))
                if room < 0:
                    raise _unprocessable()
            result = jsonpatch.apply_patch(result, [one], in_place=True)
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, *_MISUSED):
        raise _unprocessable() from None
    if not isinstance(result, dict):
        raise _unprocessable()
    # An operation's path can lead deeper than any body.
    check_depth(result)
    return result


def _unprocessable() -> StatusError:
    # A real server does not say which operation it was, either.
    return StatusError(422, "Invalid", "the server rejected our request due to an error in our request")


def strategic_merge(live: Object, patch: Object, node: Node | None) -> Object:
    """Strategic merge patch: lists with a merge key are merged by item, directives say the rest.

    :param node: the schema, whose fields say how they are patched; ``None`` replaces every list.
    :raises StatusError: 400 for malformed directives, 422 for lists of lists, 500, as servers answer, for
        items without their merge key.
    """
    return _merge_map(live, patch, node)


def _malformed(what: str) -> StatusError:
    return StatusError(400, "BadRequest", f"invalid patch format of {what}")


def _failed(message: str) -> StatusError:
    return StatusError(500, "", message)


def _go(value: Any) -> str:
    """A value as Go prints it."""
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{_go(below)}" for key, below in sorted(value.items())) + "]"
    return "[" + " ".join(map(_go, value)) + "]" if isinstance(value, list) else str(value)


def _child(node: Node | None, key: str) -> Node | None:
    return node.child(key) if node is not None else None


def _how(node: Node | None) -> tuple[str, str]:
    """Strategy (``merge``, ``replace`` or "") and merge key of a field."""
    raw = node.raw if node is not None else {}
    strategies = str(raw.get("x-kubernetes-patch-strategy") or "").split(",")
    strategy = next((one for one in strategies if one != "retainKeys"), "")
    return strategy, str(raw.get("x-kubernetes-patch-merge-key") or "")


def _merge_map(live: Object, patch: Object, node: Node | None) -> Object:
    if _PATCH in patch:
        if patch[_PATCH] == "replace":
            return {key: value for key, value in patch.items() if key != _PATCH}
        if patch[_PATCH] == "delete":
            return {}
        raise _failed(f"unknown patch type: {patch[_PATCH]} in map: {_go(patch)}")
    result = dict(live)
    if _RETAIN in patch:
        patch = _retained(result, patch)
    # Lists whose order is given are merged and ordered in one go.
    ordered = {key.removeprefix(_ORDER): value for key, value in patch.items() if key.startswith(_ORDER)}
    for key, order in ordered.items():
        _merge_ordered(result, patch, key, order, _child(node, key))
    for key, value in patch.items():
        if key.startswith(_ORDER) or key in ordered:
            continue
        if key.startswith("$deleteFromPrimitiveList"):
            _delete_values(result, key, value)
        elif value is None:
            result.pop(key, None)
        else:
            _merge_field(result, key, value, _child(node, key))
    return result


def _merge_field(result: Object, key: str, value: Any, node: Node | None) -> None:
    present = result.get(key)
    strategy, merge_key = _how(node)
    if isinstance(value, dict) and isinstance(present, dict):
        result[key] = value if strategy == "replace" else _merge_map(present, value, node)
    elif isinstance(value, list) and isinstance(present, list):
        result[key] = _merge_list(present, value, node, merge_key) if strategy == "merge" else value
    elif isinstance(value, dict) and _PATCH in value:
        result.pop(key, None)
    else:
        result[key] = _plain(value)


def _plain(value: Any) -> Any:
    """A value that meets nothing it could be merged with: without nulls and directives."""
    if isinstance(value, dict):
        return {
            key: _plain(below)
            for key, below in value.items()
            if below is not None and not (isinstance(below, dict) and _PATCH in below)
        }
    if isinstance(value, list):
        return [_plain(item) for item in value if not (isinstance(item, dict) and _PATCH in item)]
    return value


def _retained(result: Object, patch: Object) -> Object:
    """Drop from ``result`` what ``$retainKeys`` does not name; the patch without the directive."""
    names = patch[_RETAIN]
    rest = {key: value for key, value in patch.items() if key != _RETAIN}
    if not isinstance(names, list):
        raise _malformed("retainKeys")
    for key, value in rest.items():
        if value is not None and not key.startswith((_ORDER, _DELETE)) and key not in names:
            raise _malformed("retainKeys")
    for key in [key for key in result if key not in names]:
        del result[key]
    return rest


def _delete_values(result: Object, directive: str, values: Any) -> None:
    _, slash, key = directive.partition("/")
    if not slash or not isinstance(values, list):
        raise _malformed("primitive list")
    if isinstance(result.get(key), list):
        result[key] = [one for one in result[key] if one not in values]


def _merge_ordered(result: Object, patch: Object, key: str, order: Any, node: Node | None) -> None:
    present, coming = result.get(key), patch.get(key)
    if not isinstance(order, list):
        raise _malformed("setElementOrder list")
    for value in (present, coming):
        if value is not None and not isinstance(value, list):
            raise _failed("expected a []interface {}, but received a map[string]interface {}")
    strategy, merge_key = _how(node)
    _check_order(coming or [], order, merge_key)
    if present is None and coming is None:
        return
    if present is None:
        merged = _plain(coming)
    elif coming is None:
        merged = present
    else:
        merged = _merge_list(present, coming, node, merge_key) if strategy == "merge" else coming
    result[key] = _arranged(merged, order, present or [], merge_key)


def _check_order(coming: list[Any], order: list[Any], merge_key: str) -> None:
    """The patch's items stand in the same order in the order list, which names all of them."""
    if not order:
        return
    named = iter([_key_of(one, merge_key) for one in order])
    for item in coming:
        if isinstance(item, dict) and _PATCH in item:
            continue
        if _key_of(item, merge_key) not in named:
            lists = f"{_go(coming)}\n doesn't match $setElementOrder list:\n{_go(order)}"
            raise _failed(f"The order in patch list:\n{lists}\n")


def _key_of(item: Any, merge_key: str) -> Any:
    if not merge_key:
        return item
    if not isinstance(item, dict):
        raise _failed("expected a map[string]interface {}, but received something else")
    if merge_key not in item:
        raise _failed(f"map: {_go(item)} does not contain declared merge key: {merge_key}")
    return item[merge_key]


def _merge_list(live: list[Any], patch: list[Any], node: Node | None, merge_key: str) -> list[Any]:
    if not live and not patch:
        return live
    if any(isinstance(item, list) for item in (*live, *patch)):
        raise StatusError(422, "Invalid", "the server rejected our request due to an error in our request")
    if not any(isinstance(item, dict) for item in (*live, *patch)):
        return _arranged(_unique([*live, *patch]), patch, live, "")
    if not merge_key:
        raise _failed("cannot merge lists without merge key")
    before, items = _directed(live, patch, merge_key)
    inner = node.items if node is not None else None
    merged = list(before)
    for item in items:
        key = _key_of(item, merge_key)
        places = (at for at, one in enumerate(merged) if isinstance(one, dict) and one.get(merge_key) == key)
        place = next(places, None)
        if place is None:
            merged.append(item)
        else:
            merged[place] = _merge_map(merged[place], item, inner)
    return _arranged(merged, items, before, merge_key)


def _directed(live: list[Any], patch: list[Any], merge_key: str) -> tuple[list[Any], list[Any]]:
    """What is left of the live items after the directives among the patch's items, and those without."""
    before, items, replace = list(live), [], False
    for item in patch:
        directive = item.get(_PATCH) if isinstance(item, dict) else None
        if directive is None:
            items.append(item)
        elif directive == "delete":
            gone = _key_of(item, merge_key)
            before = [one for one in before if _key_of(one, merge_key) != gone]
        elif directive == "replace":
            replace = True
        else:
            raise _failed(f"unknown patch type: {directive} in map: {_go(item)}")
    return (items, []) if replace else (before, items)


def _unique(values: Iterable[Any]) -> list[Any]:
    result: list[Any] = []
    for value in values:
        if value not in result:
            result.append(value)
    return result


def _arranged(merged: list[Any], order: list[Any], live: list[Any], merge_key: str) -> list[Any]:
    """Items the patch names in its order; the others keep theirs, before what they stood before."""
    named = _position([_key_of(one, merge_key) for one in order])
    former = _position([_key_of(one, merge_key) for one in live])
    keys = [(_key_of(one, merge_key), one) for one in merged]
    theirs = sorted((one for one in keys if named(one[0]) >= 0), key=lambda one: named(one[0]))
    ours = sorted((one for one in keys if named(one[0]) < 0), key=lambda one: former(one[0]))
    result: list[Any] = []
    while theirs or ours:
        if not theirs:
            result.append(ours.pop(0)[1])
            continue
        if ours and -1 < former(ours[0][0]) < former(theirs[0][0]):
            result.append(ours.pop(0)[1])
        else:
            result.append(theirs.pop(0)[1])
    return result


def _position(keys: list[Any]) -> Callable[[Any], int]:
    """The place of a key in a list, or -1."""
    places: dict[Any, int] = {}
    for position, key in enumerate(keys):
        places.setdefault(key, position)
    return lambda key: places.get(key, -1)
