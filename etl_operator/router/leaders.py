"""Who led each cluster when it was last seen. Only a hint: a wrong one costs one call."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from etl_operator.router.sharing import UnderWay


class Leaders:
    """The last known leader per set of addresses.

    :param limit: sets remembered; the longest unused goes. Every scaling makes a new set.
    """

    def __init__(self, limit: int = 10_000) -> None:
        self._limit = limit
        self._known: OrderedDict[frozenset[str], str] = OrderedDict()
        self._searches: UnderWay[frozenset[str], str] = UnderWay()

    def get(self, addresses: Sequence[str]) -> str | None:
        """The leader's address, if one is remembered."""
        key = frozenset(addresses)
        found = self._known.get(key)
        if found is not None:
            self._known.move_to_end(key)
        return found

    async def search(self, addresses: Sequence[str], find: Callable[[], Coroutine[Any, Any, str]]) -> str:
        """What ``find`` finds; all who search at once share it. While none leads, every pipeline does."""
        return await self._searches.ask(frozenset(addresses), find)

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
