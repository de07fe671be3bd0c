"""What makes a controller work, as numbers: causes without the names of objects in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from informers.metrics import CounterCell, Metrics

MAX_LABELS = 50
"""Causes of one controller that are told apart; further ones are counted as "other"."""

_OTHER = "other"
_REMEMBERED = 4096
"""Causes whose series is known without a closer look; most name an object, so there is no end to them."""

_VERBS = frozenset({"created", "changed", "listed", "gone"})
"""What a source says has become of an object; see :mod:`informers.controller.sources`."""


def label_of(cause: str) -> str:
    """A cause without the key of the object that it names: ``Pod a/b changed`` is ``Pod changed``."""
    kind, _, rest = cause.partition(" ")
    key, _, verb = rest.partition(" ")
    return f"{kind} {verb}" if key and verb in _VERBS else cause


class CauseCounter:
    """Counts the causes of reconciles, many at a time.

    :param controller: its name.
    """

    def __init__(self, metrics: Metrics, controller: str) -> None:
        self._counter = metrics.counter(
            "controller_reconcile_causes_total",
            "Reconciles by cause, without names of objects; a reconcile with several causes counts for each.",
            ("controller", "cause"),
        )
        self._controller = controller
        self._labels: dict[str, CounterCell] = {}
        self._cells: dict[str, CounterCell] = {}
        self._noted: list[tuple[str, ...]] = []
        self.note: Callable[[tuple[str, ...]], None] = self._noted.append
        """The causes of one reconcile."""

    def settle(self) -> None:
        """Count what was noted."""
        noted = self._noted
        # What comes by the thousand mostly has one cause, and its very tuple: nothing is hashed.
        alike = bool(noted) and noted.count(noted[0]) == len(noted)
        found = {noted[0]: len(noted)} if alike else Counter(noted)
        for causes, count in found.items():
            for cause in causes:
                self._cell(cause).inc(count)
        noted.clear()

    def _cell(self, cause: str) -> CounterCell:
        known = self._cells.get(cause)
        if known is None:
            if len(self._cells) >= _REMEMBERED:
                self._cells.clear()
            known = self._cells[cause] = self._cell_of(label_of(cause))
        return known

    def _cell_of(self, label: str) -> CounterCell:
        if label not in self._labels and len(self._labels) >= MAX_LABELS:
            label = _OTHER
        if label not in self._labels:
            self._labels[label] = self._counter.cell(self._controller, label)
        return self._labels[label]
