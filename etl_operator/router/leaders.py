"""Who led each cluster when it was last seen. Only a hint: a wrong one costs one call."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence


class Leaders:
    """The last known leader per set of addresses.

    :param limit: sets remembered; the longest unused goes. Every scaling makes a new set.
    """

    def __init__(self, limit: int = 10_000) -> None:
        self._limit = limit
        self._known: OrderedDict[frozenset[str], str] = OrderedDict()

    def get(self, addresses: Sequence[str]) -> str | None:
        """The leader's address, if one is remembered."""
        key = frozenset(addresses)
        found = self._known.get(key)
        if found is not None:
            self._known.move_to_end(key)
        return found

    def remember(self, addresses: Sequence[str], leader: str) -> None:
        """``leader`` has just led."""
        key = frozenset(addresses)
        self._known[key] = leader
        self._known.move_to_end(key)
        if len(self._known) > self._limit:
            self._known.popitem(last=False)

    def forget(self, addresses: Sequence[str], leader: str) -> None:
        """``leader`` leads no more; what others have learned meanwhile stays."""
        key = frozenset(addresses)
        if self._known.get(key) == leader:
            del self._known[key]
