"""What the rules of a kind may know besides the object at hand."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from informers.objects import Object
from informers.testing.apiserver.registry import ResourceType


@dataclass(frozen=True, slots=True)
class Context:
    """The surroundings of one write.

    :param type: what is written, in the version of the request.
    :param now: RFC 3339 text in seconds.
    :param subresource: "" or "status".
    :param find: the object at (group, plural, namespace, name), or ``None``.
    :param all: every object of (group, plural).
    """

    type: ResourceType
    now: str
    subresource: str
    find: Callable[[str, str, str, str], Object | None]
    all: Callable[[str, str], Iterable[Object]]
    rng: random.Random
