"""What one process remembers of the statuses it wrote, and of fields that the server's definitions lack."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from controllers.applying.comparing import digest
from informers.cache.informer import Delta
from informers.clock import Clock, SystemClock
from informers.controller import Predicate
from informers.errors import ApiError
from informers.objects import Object, ObjectKey, Resource
from informers.views.typed import read_status
from informers.views.view import View

log = logging.getLogger(__name__)

_TRY_AGAIN = 300.0
"""Seconds after which a refused field is sent again: the server's definition may have been replaced."""

_UNDECLARED = re.compile(r"\.(\S+): field not declared in schema")
_BRACKETS = re.compile(r"\[[^\]]*\]")
_REQUIRED = "FieldValueRequired"

_Path = tuple[str, ...]


@dataclass(slots=True)
class _Written:
    """The last status written to one object."""

    sent: str
    """Its digest. Kept from before the request: the watch may be faster than the answer."""
    uid: str = ""
    version: str = ""
    """Of the object in the answer."""
    otherwise: bool = False
    """The server stores another status than the one that was sent."""


@dataclass(slots=True)
class _Refusal:
    """A field that the server does not take."""

    why: str
    again_at: float


@dataclass
class StatusMemory:
    """Shared by all controllers of a process; losing it costs one write per object.

    :param clock: the machine's by default.
    """

    clock: Clock = field(default_factory=SystemClock)
    _written: dict[tuple[Resource, ObjectKey], _Written] = field(default_factory=dict)
    _refused: dict[Resource, dict[_Path, _Refusal]] = field(default_factory=dict)

    # -- what the server stores ---------------------------------------------------------------------

    def stored_otherwise(self, resource: Resource, obj: Object, wanted: Object) -> bool:
        """Whether just this status was sent for just this version, and the server stores another one."""
        known, meta = self._written.get((resource, ObjectKey.of(obj))), obj["metadata"]
        if known is None or not known.otherwise:
            return False
        now = (meta.get("uid"), meta.get("resourceVersion"), digest(wanted))
        return now == (known.uid, known.version, known.sent)

    def sends(self, resource: Resource, key: ObjectKey, wanted: Object) -> None:
        """A status is about to be sent."""
        self._written[resource, key] = _Written(digest(wanted))

    def wrote(self, resource: Resource, wanted: Object, answer: Object) -> None:
        """The server has answered a write."""
        key, meta = (resource, ObjectKey.of(answer)), answer["metadata"]
        self._written[key] = _Written(
            digest(wanted),
            meta.get("uid", ""),
            meta.get("resourceVersion", ""),
            (answer.get("status") or {}) != wanted,
        )
        self._taken(resource, wanted)

    def forget(self, resource: Resource, key: ObjectKey) -> None:
        """The object is gone."""
        self._written.pop((resource, key), None)

    def changed_by_others(self, resource: Resource) -> Predicate:
        """Passes changes of a status that this process did not make: such a status is to be written again."""

        def changed(delta: Delta) -> bool:
            old, new = delta.old, delta.new
            if new is None:
                if old is not None:
                    self.forget(resource, old.key)
                return False
            if old is None or old.resource_version == new.resource_version:
                return False
            known = self._written.get((resource, new.key))
            if known is not None and new.resource_version == known.version:
                return False
            status = _status(new)
            if status == _status(old):
                return False
            # What was sent last is there: by whomever, nothing is to be done about it.
            return known is None or known.sent != digest(status)

        return changed

    # -- what it does not know ------------------------------------------------------------------------

    def storable(self, resource: Resource, status: Object) -> Object:
        """The status without the fields that the server has refused lately."""
        now = self.clock.monotonic()
        for path, refusal in self._refused.get(resource, {}).items():
            if now < refusal.again_at:
                status = _without(status, path)
        return status

    def learn(self, resource: Resource, error: ApiError) -> bool:
        """Take from a refusal which fields the server does not take. True when that is something new."""
        known, now, new = self._refused.setdefault(resource, {}), self.clock.monotonic(), False
        for path, why in _refused_fields(error):
            if path in known and now < known[path].again_at:
                continue
            if path not in known:
                log.warning(
                    "%s.%s: %s; the field is not written", resource.kind, ".".join(("status", *path)), why
                )
            known[path], new = _Refusal(why, now + _TRY_AGAIN), True
        return new

    def health(self) -> str | None:
        """Which fields are left out, for a readiness check."""
        missing = [
            f"{resource.plural}.{resource.group}: {', '.join(sorted(_name(path) for path in paths))}"
            for resource, paths in sorted(self._refused.items(), key=lambda one: one[0].plural)
            if paths
        ]
        if not missing:
            return None
        return (
            f"the CRDs in the cluster lack fields of the status, which are not written: "
            f"{'; '.join(missing)}; apply the CRDs of this version: "
            "etl-operator crds | kubectl apply --server-side -f -"
        )

    def _taken(self, resource: Resource, wanted: Object) -> None:
        """The server took these fields: what it refused of them before, it knows now."""
        refused = self._refused.get(resource)
        if refused:
            taken = [path for path in refused if _without(wanted, path) != wanted]
            for path in taken:
                del refused[path]


def _name(path: _Path) -> str:
    return ".".join(("status", *path))


def _refused_fields(error: ApiError) -> Iterable[tuple[_Path, str]]:
    """Paths below ``status`` that a refusal names, without positions in lists, and why."""
    for text in _UNDECLARED.findall(error.message):
        yield from _below_status(text, "the CRD in the cluster has no such field")
    for cause in error.details.get("causes") or ():
        text = str(cause.get("field") or "")
        if cause.get("reason") == _REQUIRED:
            # It is what lacks the field that cannot be stored.
            text = text.rpartition(".")[0]
        yield from _below_status(text, str(cause.get("message") or "refused"))


def _below_status(text: str, why: str) -> Iterable[tuple[_Path, str]]:
    first, *path = _BRACKETS.sub("", text).split(".")
    if first == "status" and path:
        yield tuple(path), why


def _without(value: Any, path: _Path) -> Any:
    """A copy without one field, in every item where the path leads through lists."""
    if isinstance(value, list):
        return [_without(item, path) for item in value]
    if not isinstance(value, dict) or path[0] not in value:
        return value
    if len(path) == 1:
        return {name: one for name, one in value.items() if name != path[0]}
    return {**value, path[0]: _without(value[path[0]], path[1:])}


def _status(view: View) -> Any:
    try:
        return read_status(view, dict[str, Any]) or {}
    except msgspec.ValidationError:
        # A definition without a schema takes anything.
        return view.resource_version
