"""The series of one controller and its queue, under the names people have dashboards for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from informers.metrics import QUEUE_SECONDS, Counter, Histogram, Labels, Metrics, Samples
from informers.queue import Statistics, WorkQueue

_CONTROLLER = ("controller",)
_QUEUE = ("name", "controller")


class Outcome(StrEnum):
    """How a reconcile ended: the label ``result``."""

    SUCCESS = "success"
    ERROR = "error"
    REQUEUE = "requeue"
    REQUEUE_AFTER = "requeue_after"


@dataclass
class Probe:
    """What :class:`ControllerMetrics` asks of a controller when somebody scrapes."""

    active: Callable[[], int]
    """Workers that are reconciling."""
    stuck: Callable[[], int]
    """Reconciles that are past their deadline and have not ended."""
    workers: int
    queue: WorkQueue = field(repr=False)


class ControllerMetrics:
    """Counts what a controller does. Also the observer of its queue."""

    def __init__(self, metrics: Metrics, controller: str, probe: Probe) -> None:
        self._name = controller
        self._reconciles = metrics.counter(
            "controller_runtime_reconcile_total",
            "Reconciles by how they ended.",
            ("controller", "result"),
        )
        for outcome in Outcome:
            # A rate needs a zero to start from.
            self._reconciles.inc(controller, outcome.value, amount=0.0)
        self._seconds = metrics.histogram(
            "controller_runtime_reconcile_time_seconds", "Seconds a reconcile took.", _CONTROLLER
        )
        self._errors = self._zero(
            metrics, "controller_runtime_reconcile_errors_total", "Reconciles that raised, terminal or not."
        )
        self._terminal = self._zero(
            metrics,
            "controller_runtime_terminal_reconcile_errors_total",
            "Reconciles that raised an error which retrying cannot help.",
        )
        self._timeouts = self._zero(
            metrics, "controller_runtime_reconcile_timeouts_total", "Reconciles cancelled at their deadline."
        )
        self._sample(metrics, probe)
        self._watch_queue(metrics, probe.queue)

    def _zero(self, metrics: Metrics, name: str, documentation: str) -> Counter:
        counter = metrics.counter(name, documentation, _CONTROLLER)
        counter.inc(self._name, amount=0.0)
        return counter

    def _sample(self, metrics: Metrics, probe: Probe) -> None:
        labels = (self._name,)
        gauges: tuple[tuple[str, str, Callable[[], float]], ...] = (
            ("controller_runtime_active_workers", "Workers that are reconciling.", probe.active),
            (
                "controller_runtime_max_concurrent_reconciles",
                "Workers of the controller.",
                lambda: probe.workers,
            ),
            (
                "controller_runtime_stuck_reconciles",
                "Reconciles that are past their deadline and have not ended.",
                probe.stuck,
            ),
        )
        for name, documentation, read in gauges:
            metrics.sampled(name, documentation, _CONTROLLER, _single(labels, read))

    def _watch_queue(self, metrics: Metrics, queue: WorkQueue) -> None:
        labels = self._labels = (self._name, self._name)
        self._adds = metrics.counter("workqueue_adds_total", "Keys that became ready.", _QUEUE)
        self._retries = metrics.counter("workqueue_retries_total", "Failed keys scheduled again.", _QUEUE)
        for counter in (self._adds, self._retries):
            counter.inc(*labels, amount=0.0)
        self._waited: Histogram = metrics.histogram(
            "workqueue_queue_duration_seconds", "Seconds a ready key waited.", _QUEUE, QUEUE_SECONDS
        )
        self._worked: Histogram = metrics.histogram(
            "workqueue_work_duration_seconds", "Seconds a key was in work.", _QUEUE, QUEUE_SECONDS
        )
        metrics.sampled(
            "workqueue_depth",
            "Ready keys.",
            (*_QUEUE, "priority"),
            lambda: _depth(labels, queue.statistics()),
        )
        metrics.sampled(
            "workqueue_unfinished_work_seconds",
            "Seconds the keys in work have been so, summed up.",
            _QUEUE,
            _single(labels, lambda: queue.statistics().unfinished),
        )
        metrics.sampled(
            "workqueue_longest_running_processor_seconds",
            "Seconds the oldest key in work has been so.",
            _QUEUE,
            _single(labels, lambda: queue.statistics().longest_running),
        )

    # -- the controller ------------------------------------------------------------------------------

    def reconciled(self, outcome: Outcome, seconds: float) -> None:
        """A reconcile ended."""
        self._reconciles.inc(self._name, outcome.value)
        self._seconds.observe(seconds, self._name)

    def failed(self, *, terminal: bool) -> None:
        """It raised."""
        self._errors.inc(self._name)
        if terminal:
            self._terminal.inc(self._name)

    def timed_out(self) -> None:
        """It was cancelled at its deadline."""
        self._timeouts.inc(self._name)

    # -- the queue -----------------------------------------------------------------------------------

    def added(self) -> None:
        """A key became ready."""
        self._adds.inc(*self._labels)

    def taken(self, waited: float) -> None:
        """A key was handed out, ``waited`` seconds after it became ready."""
        self._waited.observe(waited, *self._labels)

    def finished(self, worked: float) -> None:
        """A key was done, ``worked`` seconds after it was handed out."""
        self._worked.observe(worked, *self._labels)

    def retried(self) -> None:
        """A failed key was scheduled again."""
        self._retries.inc(*self._labels)


def _single(labels: Labels, read: Callable[[], float]) -> Callable[[], Samples]:
    return lambda: ((labels, float(read())),)


def _depth(labels: Labels, statistics: Statistics) -> Samples:
    return [((*labels, priority.name.lower()), float(n)) for priority, n in statistics.ready.items()]
