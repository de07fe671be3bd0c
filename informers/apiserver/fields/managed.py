"""``metadata.managedFields``: reading it, writing it, the identity of managers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from informers.apiserver.fields.paths import FieldSet, from_v1, to_v1
from informers.objects import Object

MAX_UPDATERS = 10
"""Entries of more updating managers than this are folded together, oldest first."""

FOLDED = "ancient-changes"


class Manager(NamedTuple):
    """Who writes, and how.

    :param name: the field manager.
    :param api_version: the version the writer used.
    :param subresource: "" for the object itself.
    """

    name: str
    operation: Literal["Apply", "Update"]
    api_version: str
    subresource: str = ""

    @property
    def identity(self) -> Manager:
        """What entries are told apart by: an applier stays the same whatever version it uses."""
        return self._replace(api_version="") if self.operation == "Apply" else self

    def sort_key(self) -> str:
        """Orders managers in messages as servers do, by their JSON form."""
        parts = {"manager": self.name, "operation": self.operation, "apiVersion": self.api_version}
        if self.operation == "Apply":
            del parts["apiVersion"]
        if self.subresource:
            parts["subresource"] = self.subresource
        return json.dumps(parts)

    def __str__(self) -> str:
        text = json.dumps(self.name, ensure_ascii=False)
        if self.subresource:
            text += f" with subresource {json.dumps(self.subresource)}"
        return f"{text} using {self.api_version}" if self.operation == "Update" else text


@dataclass(frozen=True, slots=True)
class Entry:
    """One manager's fields.

    :param time: RFC 3339 text, or "".
    :param source: the entry as stored, while it says the same.
    """

    manager: Manager
    fields: FieldSet
    time: str
    source: Object | None = None

    def to_object(self) -> Object:
        """The entry as stored."""
        if self.source is not None:
            return self.source
        result: Object = {
            "manager": self.manager.name,
            "operation": self.manager.operation,
            "apiVersion": self.manager.api_version,
        }
        if self.time:
            result["time"] = self.time
        result["fieldsType"] = "FieldsV1"
        result["fieldsV1"] = to_v1(self.fields)
        if self.manager.subresource:
            result["subresource"] = self.manager.subresource
        return result

    def changed(self, fields: FieldSet) -> Entry:
        """The entry with other fields, at the same time."""
        return self if fields == self.fields else Entry(self.manager, fields, self.time)


Managed = dict[Manager, Entry]
"""Entries by the identity of their manager."""


def read(entries: Any) -> Managed | None:
    """The entries of ``metadata.managedFields``, or ``None`` when one of them makes no sense."""
    result: Managed = {}
    for entry in entries or ():
        if not isinstance(entry, Mapping) or entry.get("operation") not in ("Apply", "Update"):
            return None
        if entry.get("fieldsType") != "FieldsV1":
            return None
        manager = Manager(
            entry.get("manager") or "",
            entry["operation"],
            entry.get("apiVersion") or "",
            entry.get("subresource") or "",
        )
        fields = from_v1(entry.get("fieldsV1") or {})
        result[manager.identity] = Entry(manager, fields, entry.get("time") or "", dict(entry))
    return result


def written(managed: Managed) -> list[Object]:
    """The entries as stored: appliers first, then by time and name; entries without fields are left out."""
    entries = sorted(
        (entry for entry in managed.values() if entry.fields),
        key=lambda one: (
            one.manager.operation,
            one.time,
            one.manager.name,
            one.manager.api_version,
            one.manager.subresource,
        ),
    )
    return [entry.to_object() for entry in entries]


def capped(managed: Managed) -> Managed:
    """At most :data:`MAX_UPDATERS` updating entries: the oldest are folded into one per version."""
    result = {identity: entry for identity, entry in managed.items() if entry.fields}
    updates = [entry for entry in result.values() if entry.manager.operation == "Update"]
    count = len(updates)
    for entry in sorted(updates, key=lambda one: (one.time, one.manager.name)):
        if count <= MAX_UPDATERS:
            break
        if entry.manager.name == FOLDED:
            continue
        del result[entry.manager.identity]
        bucket = Manager(FOLDED, "Update", entry.manager.api_version)
        present = result.get(bucket)
        if present is None:
            result[bucket] = Entry(bucket, entry.fields, entry.time)
        else:
            count -= 1
            result[bucket] = Entry(bucket, present.fields | entry.fields, max(present.time, entry.time))
    return result
