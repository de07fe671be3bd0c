"""Field ownership: server-side apply, and what other writes do to ``metadata.managedFields``."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from informers.apiserver.errors import Cause, StatusError
from informers.apiserver.fields.check import check_applied
from informers.apiserver.fields.managed import Entry, Managed, Manager, capped, read, written
from informers.apiserver.fields.paths import EMPTY, FieldSet, Path, field, readable, under
from informers.apiserver.fields.walks import Comparison, compare, field_set, merge, remove, with_parents
from informers.apiserver.schema import Schema
from informers.apiserver.schema.node import Node
from informers.objects import Object

__all__ = ["Manager", "apply", "track"]

_META = field("metadata")
_UNOWNED: FieldSet = frozenset(
    [
        (field("apiVersion"),),
        (field("kind"),),
        (_META,),
        *(
            (_META, field(name))
            for name in (
                "name",
                "namespace",
                "creationTimestamp",
                "selfLink",
                "uid",
                "clusterName",
                "generation",
                "managedFields",
                "resourceVersion",
            )
        ),
    ]
)

# What an object of a built-in kind has before anybody wrote it: its Go type holds these as values, so
# nobody comes to own them by creating it.
_BLANK: Object = {
    "metadata": {},
    "spec": {
        "containers": None,
        "names": {},
        "strategy": {},
        "updateStrategy": {},
        "template": {"metadata": {}, "spec": {"containers": None}},
        "resources": {},
        "podSelector": {},
        "devices": {"requests": None},
        "drivers": None,
        "metadata": {},
        "pool": {},
        "priorityLevelConfiguration": {},
        "resource": {},
        "source": {},
        "spec": {"devices": {"requests": None}},
        "taint": {},
        "jobTemplate": {"metadata": {}, "spec": {"template": {"metadata": {}, "spec": {"containers": None}}}},
    },
    "status": {"loadBalancer": {}},
    "source": {},
    "deprecatedSource": {},
    "reportingComponent": "",
    "reportingInstance": "",
}


def apply(
    live: Object | None,
    intent: Object,
    schema: Schema | None,
    manager: Manager,
    *,
    force: bool,
    now: str,
    ignore: Collection[tuple[str, ...]] = (),
) -> Object:
    """Server-side apply.

    :param live: the stored object, or ``None`` when there is none.
    :param intent: the whole of what the manager wants.
    :param schema: without one, maps are merged by field and lists are one value.
    :param force: take over fields others own instead of refusing.
    :param now: the time for entries that change, RFC 3339.
    :param ignore: field names leading to what a write to this (sub)resource does not touch, such as
        ``("status",)``: not merged and not owned.
    :returns: the merged object with its ``metadata.managedFields``; ``live`` itself when nothing changes.
    :raises StatusError: 409 naming every conflict; 400 for an intent with managedFields; 500, as servers
        answer, for one that does not fit the schema's shapes.
    """
    if intent.get("metadata", {}).get("managedFields") is not None:
        raise StatusError(400, "BadRequest", "metadata.managedFields must be nil")
    node = schema.root if schema is not None else None
    check_applied(intent, node)
    for path in ignore:
        intent = _dropped(intent, path)
    before = _without_entries(live) if live is not None else {}
    entries = read(_entries(live)) or {}
    managed = dict(entries)
    if live is not None and not entries:
        managed = _before_first_apply(before, node, manager.api_version, now)

    said = field_set(intent, node)
    intended = _owned(said)
    last = managed.get(manager.identity)
    managed[manager.identity] = Entry(manager, intended, last.time if last else "")
    merged = merge(before, intent, node) if live is not None else intent
    if last is not None:
        merged = _pruned(merged, node, last.fields, managed_fields(managed) | said)
    if live is not None:
        managed = _settled(compare(before, merged, node), managed, manager.identity, force=force)
    return _outcome(live, before, merged, managed, entries, manager, now)


def track(
    old: Object | None,
    new: Object,
    schema: Schema | None,
    manager: Manager,
    *,
    now: str,
    ignore: Collection[tuple[str, ...]] = (),
) -> Object:
    """Who owns what after a create, update or patch.

    What the write changes belongs to its manager alone, what it removes to nobody. Entries sent in
    ``new`` replace those of ``old`` when they make sense; one empty entry forgets all of them.

    :param old: the stored object, or ``None`` when it is created.
    :param now: the time for the manager's entry, RFC 3339; it moves only when the manager changed fields.
    :param ignore: as in :func:`apply`.
    :returns: ``new`` with its ``metadata.managedFields``.
    """
    node = schema.root if schema is not None else None
    managed = _sent_or_stored(old, new, manager)
    after = _without_entries(new)
    if old is not None:
        before = _without_entries(old)
    else:
        before = _blank(_BLANK, node) if schema is not None and schema.builtin else {}
    changes = compare(before, after, node)
    if ignore:
        prefixes = [tuple(map(field, path)) for path in ignore]
        touched = changes.added | changes.modified | changes.removed
        changes = changes.without(frozenset(path for path in touched if under(path, prefixes)))
    taken = _owned(frozenset(changes.added | changes.modified))
    result = _settled(changes, managed, None, force=True)
    if taken:
        previous = result.get(manager.identity)
        fields = taken | previous.fields if previous else taken
        result[manager.identity] = Entry(manager, fields, now)
    return _with_entries(new, after, capped(result))


def _entries(obj: Object | None) -> Any:
    return obj.get("metadata", {}).get("managedFields") if obj is not None else None


def _without_entries(obj: Object) -> Object:
    if "managedFields" not in obj.get("metadata", {}):
        return obj
    metadata = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    return {**obj, "metadata": metadata}


def _with_entries(obj: Object, bare: Object, managed: Managed) -> Object:
    entries = written(managed)
    if entries == (_entries(obj) or []):
        return obj
    metadata = dict(bare.get("metadata", {}))
    if entries:
        metadata["managedFields"] = entries
    return {**bare, "metadata": metadata}


def _owned(paths: FieldSet) -> FieldSet:
    return paths - _UNOWNED - {()}


def _dropped(obj: Object, path: tuple[str, ...]) -> Object:
    if not path or path[0] not in obj:
        return obj
    if len(path) == 1:
        return {key: value for key, value in obj.items() if key != path[0]}
    below = obj[path[0]]
    return {**obj, path[0]: _dropped(below, path[1:])} if isinstance(below, dict) else obj


def _blank(shape: Object, node: Node | None) -> Object:
    result: Object = {}
    for key, below in shape.items():
        inner = node.properties.get(key) if node is not None else None
        if inner is not None:
            result[key] = _blank(below, inner) if isinstance(below, dict) else below
    return result


def _before_first_apply(live: Object, node: Node | None, api_version: str, now: str) -> Managed:
    manager = Manager("before-first-apply", "Update", api_version)
    fields = _owned(frozenset(compare({}, live, node).added))
    return {manager: Entry(manager, fields, now)} if fields else {}


def _sent_or_stored(old: Object | None, new: Object, manager: Manager) -> Managed:
    sent = _entries(new)
    if not manager.subresource or old is None:
        if sent == [{}]:
            return {}
        found = read(sent)
        if found:
            return found
    return read(_entries(old)) or {}


def _pruned(merged: Object, node: Node | None, last: FieldSet, owned: FieldSet) -> Object:
    """``merged`` without what the manager owned, no longer wants, and nobody else owns."""
    if last <= owned:
        return merged
    given_up = with_parents(last, node)
    everything = with_parents(field_set(merged, node), node)
    # First all of it goes, with whatever is below; then comes back what anybody owns, then what nobody ever
    # did. What is left of a map may be a list without items, which nobody can own: then the map goes too.
    gone = everything - with_parents(field_set(remove(merged, node, given_up), node), node)
    kept = remove(merged, node, gone - with_parents(owned, node))
    gone = everything - with_parents(field_set(kept, node), node)
    result: Object = remove(merged, node, gone & given_up)
    return result


def managed_fields(managed: Managed) -> FieldSet:
    """Everything any of the managers owns."""
    return EMPTY.union(*(entry.fields for entry in managed.values()))


def _settled(changes: Comparison, managed: Managed, writer: Manager | None, *, force: bool) -> Managed:
    """The entries after a write that made these changes.

    :param writer: the identity of the applier, whose own entry is already right.
    :raises StatusError: 409 when an applier would change what others own.
    """
    claimed = changes.added | changes.modified
    conflicts: list[tuple[Manager, Path]] = []
    result: Managed = {}
    for identity, entry in managed.items():
        if identity == writer:
            result[identity] = entry
            continue
        taken = entry.fields & claimed
        conflicts.extend((entry.manager, path) for path in taken)
        result[identity] = entry.changed(entry.fields - taken - changes.removed)
    if conflicts and not force:
        raise _conflict(conflicts)
    return result


def _place(path: Path) -> list[tuple[bool, str]]:
    """Orders paths as servers name them: at every level first what ends there, then what leads further."""
    return [(depth < len(path), part) for depth, part in enumerate(path, 1)]


def _conflict(conflicts: list[tuple[Manager, Path]]) -> StatusError:
    conflicts.sort(key=lambda one: (one[0].sort_key(), _place(one[1])))
    causes = [
        Cause("FieldManagerConflict", f"conflict with {manager}", readable(path))
        for manager, path in conflicts
    ]
    if len(conflicts) == 1:
        manager, path = conflicts[0]
        text = f"Apply failed with 1 conflict: conflict with {manager}: {readable(path)}"
    else:
        lines: list[str] = []
        for position, (manager, path) in enumerate(conflicts):
            if position == 0 or conflicts[position - 1][0] != manager:
                lines.append(f"conflicts with {manager}:")
            lines.append(f"- {readable(path)}")
        text = f"Apply failed with {len(conflicts)} conflicts: " + "\n".join(lines)
    return StatusError(409, "Conflict", text, {"causes": [cause_object(cause) for cause in causes]})


def cause_object(cause: Cause) -> Object:
    """A cause as it stands in ``Status.details.causes``."""
    return {"reason": cause.reason, "message": cause.message, "field": cause.field}


def _outcome(
    live: Object | None,
    before: Object,
    merged: Object,
    managed: Managed,
    entries: Managed,
    manager: Manager,
    now: str,
) -> Object:
    owners = {identity: entry.fields for identity, entry in managed.items() if entry.fields}
    former = {identity: entry.fields for identity, entry in entries.items()}
    own = managed[manager.identity]
    same_version = manager.identity in entries and (
        entries[manager.identity].manager.api_version == manager.api_version
    )
    if live is not None and merged == before and owners == former and (same_version or not own.fields):
        return live
    # Saying what is already so moves no time: the entry of a new manager has none then.
    time = now if live is None or merged != before else own.time
    managed[manager.identity] = Entry(manager, own.fields, time)
    return _with_entries(merged, merged, capped(managed))
