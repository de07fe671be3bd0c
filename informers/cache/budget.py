"""How many bytes caches may take.

Nothing is ever refused: an operator that does not see every object does the wrong thing. A budget that is
exceeded makes caches pack everything they have, recently used or not; when even that is not enough it is
said, by the health of every informer under the budget, until it is over.
"""

from __future__ import annotations

from collections.abc import Callable


class Budget:
    """A limit for one informer or for several together.

    :param limit: bytes, counted as :class:`informers.cache.store.Size` does; 0 is no limit.
    """

    def __init__(self, limit: int = 0) -> None:
        self.limit = limit
        self._readers: list[Callable[[], int]] = []

    def add(self, reader: Callable[[], int]) -> None:
        """Count what ``reader`` says, too."""
        self._readers.append(reader)

    def remove(self, reader: Callable[[], int]) -> None:
        """Count it no more."""
        self._readers.remove(reader)

    @property
    def used(self) -> int:
        """Bytes now."""
        return sum(reader() for reader in self._readers)

    @property
    def exceeded(self) -> bool:
        """Whether more is used than there should be."""
        return bool(self.limit) and self.used > self.limit

    def __str__(self) -> str:
        return f"caches hold {self.used / 1e6:.1f} MB, the limit is {self.limit / 1e6:.1f} MB"
