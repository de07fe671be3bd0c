"""What an admission plugin is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from informers.apiserver.builtin.context import Context
from informers.apiserver.errors import StatusError
from informers.apiserver.errors.refusals import forbidden
from informers.objects import Object

Mutate: TypeAlias = Callable[[Object, Object | None, Context], None]
Validate: TypeAlias = Callable[[Object, Object | None, Context], None]

PODS = ("", "pods")


@dataclass(frozen=True, slots=True)
class Plugin:
    """One admission plugin, under the name a real server's ``--disable-admission-plugins`` knows it by.

    :param kinds: what it looks at, as group and plural.
    :param mutate: changes the new object in place, after ownership of its fields has been noted.
    :param validate: refuses by raising, after the object was found valid. Both get the new object and the
        old one, ``None`` at a create.
    :param subresources: those it looks at; "" is the object itself.
    """

    name: str
    kinds: frozenset[tuple[str, str]]
    mutate: Mutate | None = None
    validate: Validate | None = None
    subresources: frozenset[str] = frozenset({""})


def refused(obj: Object, context: Context, why: str) -> StatusError:
    """403: an admission plugin does not let the object through."""
    return forbidden(context.type.resource, obj["metadata"].get("name", ""), why)


def newest(classes: list[Object]) -> Object | None:
    """Of several classes that say they are the default, the newest; by name where they are as old."""
    found: list[Object] = sorted(classes, key=lambda one: str(one["metadata"]["name"]))
    found.sort(key=lambda one: str(one["metadata"].get("creationTimestamp") or ""), reverse=True)
    return found[0] if found else None


def annotated(obj: Object, name: str) -> bool:
    """Whether an annotation says ``true``."""
    annotations: Any = obj["metadata"].get("annotations") or {}
    return bool(annotations.get(name) == "true")
