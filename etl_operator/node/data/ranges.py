"""A set of whole numbers as closed intervals. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator


class Ranges:
    """Numbers, kept as disjoint intervals that do not touch.

    :param most: intervals kept; beyond it the lowest are forgotten. 0 means any number.
    """

    __slots__ = ("_ends", "_most", "_starts")

    def __init__(self, most: int = 0) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._most = most

    def __contains__(self, number: int) -> bool:
        i = bisect_right(self._starts, number) - 1
        return i >= 0 and number <= self._ends[i]

    def __bool__(self) -> bool:
        return bool(self._starts)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Intervals, first and last number of each, ascending."""
        return zip(self._starts, self._ends, strict=True)

    @property
    def lowest(self) -> int:
        """The lowest number.

        :raises IndexError: there is none.
        """
        return self._starts[0]

    def below(self, bound: int) -> int | None:
        """The highest number under ``bound``."""
        i = bisect_right(self._starts, bound - 1) - 1
        return min(self._ends[i], bound - 1) if i >= 0 else None

    @property
    def highest(self) -> int:
        """The highest number.

        :raises IndexError: there is none.
        """
        return self._ends[-1]

    def add(self, number: int) -> None:
        """Add one number."""
        i = bisect_right(self._starts, number) - 1
        if i < 0 or number > self._ends[i]:
            self.add_all(number, number)

    def add_all(self, first: int, last: int) -> None:
        """Add an interval of which no number is there."""
        starts, ends = self._starts, self._ends
        i = bisect_right(starts, first) - 1
        joins_left = i >= 0 and ends[i] == first - 1
        joins_right = i + 1 < len(starts) and starts[i + 1] == last + 1
        if joins_left and joins_right:
            ends[i] = ends.pop(i + 1)
            del starts[i + 1]
        elif joins_left:
            ends[i] = last
        elif joins_right:
            starts[i + 1] = first
        else:
            starts.insert(i + 1, first)
            ends.insert(i + 1, last)
            if self._most and len(starts) > self._most:
                del starts[0], ends[0]

    def discard_to(self, number: int) -> None:
        """Take ``number`` and all below it away."""
        i = bisect_right(self._starts, number)
        if i and self._ends[i - 1] > number:
            i -= 1
            self._starts[i] = number + 1
        del self._starts[:i], self._ends[:i]

    def discard(self, number: int) -> None:
        """Take one number away, if it is there."""
        starts, ends = self._starts, self._ends
        i = bisect_right(starts, number) - 1
        if i < 0 or number > ends[i]:
            return
        start, end = starts[i], ends[i]
        if start == end:
            del starts[i], ends[i]
        elif number == start:
            starts[i] = number + 1
        elif number == end:
            ends[i] = number - 1
        else:
            ends[i] = number - 1
            starts.insert(i + 1, number + 1)
            ends.insert(i + 1, end)
