"""What the rules of a kind may read besides the object that is written."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from informers.apiserver.kinds.registry import ResourceType
from informers.objects import Object

Authorizer: TypeAlias = Callable[[Mapping[str, Any], str, str, str, str], bool]
"""User, verb, group, plural and name: whether the user may."""


def always(user: Mapping[str, Any], verb: str, group: str, plural: str, name: str) -> bool:
    """An authorizer that lets everybody do everything."""
    return True


@dataclass(frozen=True, slots=True)
class Context:
    """The surroundings of one write.

    :param type: what is written, in the version of the request.
    :param now: RFC 3339 text in seconds.
    :param subresource: "" or that of the request, such as "status".
    :param find: the object at (group, plural, namespace, name), or ``None``.
    :param all: every object of (group, plural).
    :param user: who writes, in the ``UserInfo`` shape of reviews; empty for the server itself.
    :param may: whether a user may do a verb to an object, given group, plural and name.
    :param warnings: what the writer is told beside the answer; rules add to it.
    """

    type: ResourceType
    now: str
    subresource: str
    find: Callable[[str, str, str, str], Object | None]
    all: Callable[[str, str], Iterable[Object]]
    rng: random.Random
    user: Mapping[str, Any] = field(default_factory=dict)
    may: Authorizer = always
    warnings: list[str] = field(default_factory=list)
