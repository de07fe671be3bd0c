"""The series of one controller and its queue, under the names people have dashboards for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from informers.controller.causes import CauseCounter
from informers.metrics import QUEUE_SECONDS, Labels, Metrics, Samples
from informers.objects import Result
from informers.queue import Statistics, Work, WorkQueue

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
    """What :class:`ControllerMetrics` asks of a controller when someone scrapes."""

    active: Callable[[], int]
    """Workers that are reconciling."""
    stuck: Callable[[], int]
    """Reconciles that have exceeded their deadline and have not ended."""
    workers: int
    queue: WorkQueue = field(repr=False)


class ControllerMetrics:
    """Counts what a controller does, and its queue.

    Durations and causes are noted for every reconcile and counted now and then: that is cheaper by half.
    """

    def __init__(self, metrics: Metrics, controller: str, probe: Probe) -> None:
        self._name = controller
        reconciles = metrics.counter(
            "controller_runtime_reconcile_total", "Reconciles by result.", ("controller", "result")
        )
        outcomes = {outcome: reconciles.cell(controller, outcome.value) for outcome in Outcome}
        self._success, self._error = outcomes[Outcome.SUCCESS], outcomes[Outcome.ERROR]
        self._requeue_after = outcomes[Outcome.REQUEUE_AFTER]
        self._seconds = metrics.histogram(
            "controller_runtime_reconcile_time_seconds", "Seconds a reconcile took.", _CONTROLLER
        ).cell(controller)
        self._errors, self._terminal, self._timeouts = (
            metrics.counter(f"controller_runtime_{name}_total", documentation, _CONTROLLER).cell(controller)
            for name, documentation in (
                ("reconcile_errors", "Reconciles that raised an exception, terminal or not."),
                (
                    "terminal_reconcile_errors",
                    "Reconciles that raised a terminal error, which is not retried.",
                ),
                ("reconcile_timeouts", "Reconciles cancelled at their deadline."),
            )
        )
        self._skipped = metrics.counter(
            "controller_runtime_reconcile_skipped_total",
            "Reconciles that an input gate skipped.",
            _CONTROLLER,
        ).cell(controller)
        self.skipped = self._skipped.inc
        self._waits: list[float] = []
        self.waited = self._waits.append
        """A ready key has waited so many seconds and is handed out."""
        self._durations: list[float] = []
        self._causes = CauseCounter(metrics, controller)
        metrics.before_scrape(self.settle)
        self._sample(metrics, probe)
        self._watch_queue(metrics, probe.queue)

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
                "Reconciles that have exceeded their deadline and have not ended.",
                probe.stuck,
            ),
        )
        for name, documentation, read in gauges:
            metrics.sampled(name, documentation, _CONTROLLER, _single(labels, read))

    def _watch_queue(self, metrics: Metrics, queue: WorkQueue) -> None:
        labels = (self._name, self._name)
        adds = metrics.counter("workqueue_adds_total", "Keys that were added to the queue.", _QUEUE)
        adds.read_from(lambda: queue.added, *labels)
        retries = metrics.counter("workqueue_retries_total", "Retries of failed keys.", _QUEUE)
        retries.read_from(lambda: queue.retried, *labels)
        self._waiting, self._worked = (
            metrics.histogram(name, documentation, _QUEUE, QUEUE_SECONDS).cell(*labels)
            for name, documentation in (
                ("workqueue_queue_duration_seconds", "Seconds that a key waited in the queue."),
                ("workqueue_work_duration_seconds", "Seconds it took to process a key."),
            )
        )
        metrics.sampled(
            "workqueue_depth",
            "Keys in the queue.",
            (*_QUEUE, "priority"),
            lambda: _depth(labels, queue.statistics()),
        )
        metrics.sampled(
            "workqueue_unfinished_work_seconds",
            "Sum of the seconds that the keys in progress have taken so far.",
            _QUEUE,
            _single(labels, lambda: queue.statistics().unfinished),
        )
        metrics.sampled(
            "workqueue_longest_running_processor_seconds",
            "Seconds that the oldest key in progress has taken so far.",
            _QUEUE,
            _single(labels, lambda: queue.statistics().longest_running),
        )

    def reconciled(self, work: Work, result: Result | None, ended: float) -> None:
        """A reconcile ended, with a result or an error."""
        if result is None:
            self._error.value += 1
        elif result.requeue_after is None:
            self._success.value += 1
        else:
            self._requeue_after.value += 1
        self._durations.append(ended - work.taken_at)
        self._causes.note(work.causes)

    def settle(self) -> None:
        """Count what was noted; called every few dozen reconciles."""
        self._waiting.observe_all(self._waits)
        self._worked.observe_all(self._durations)
        self._seconds.observe_all(self._durations)
        self._waits.clear()
        self._durations.clear()
        self._causes.settle()

    def failed(self, *, terminal: bool) -> None:
        """It raised."""
        self._errors.inc()
        if terminal:
            self._terminal.inc()

    def timed_out(self) -> None:
        """It was cancelled at its deadline."""
        self._timeouts.inc()


def _single(labels: Labels, read: Callable[[], float]) -> Callable[[], Samples]:
    return lambda: ((labels, float(read())),)


def _depth(labels: Labels, statistics: Statistics) -> Samples:
    return [((*labels, priority.name.lower()), float(n)) for priority, n in statistics.ready.items()]
