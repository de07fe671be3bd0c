"""What was found to be in place, so that looking again compares two numbers and not two objects."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import msgspec

from informers.views.view import View

# Only its hash is of interest, and this form is made in less time than JSON.
_encode = msgspec.msgpack.Encoder().encode


class Settled:
    """Remembers, for every child, the desired state that was met and the version of the object that met it.

    While neither moves, the outcome of comparing them cannot either. A restart forgets, and compares once.
    """

    def __init__(self) -> None:
        self._known: dict[Hashable, tuple[int, str, str]] = {}

    def __contains__(self, child: Hashable) -> bool:
        return child in self._known

    def holds(self, child: Hashable, desired: Any, observed: View) -> bool:
        """Whether this desired state was met by this version.

        :param child: what tells children apart, such as resource and key.
        :param desired: everything the comparison depends on besides ``observed``, as plain data.
        """
        meta = observed.metadata
        return self._known.get(child) == (hash(_encode(desired)), meta.uid, meta.resource_version)

    def remember(self, child: Hashable, desired: Any, observed: View) -> None:
        """The comparison was made, and the desired state is met."""
        self._known[child] = hash(_encode(desired)), observed.uid, observed.resource_version

    def forget(self, child: Hashable) -> None:
        """The child is gone, or of no interest any more."""
        self._known.pop(child, None)
