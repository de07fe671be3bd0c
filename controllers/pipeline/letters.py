"""Whether a pipeline's dead letters are a reason to look: the condition ``DLQHealthy``."""

from __future__ import annotations

from controllers.pipeline.counting import Grown, Tally
from controllers.retrying.troubles import AlarmRules
from controllers.status import reasons as r
from controllers.status.conditions import Conditions
from etl_operator.api import EtlPipeline
from informers.clock import Clock
from informers.objects import ObjectKey

QUIET = 300.0
"""Seconds without a new dead letter after which the condition is true again."""
_MINUTES = f"{QUIET / 60:.0f}"
STUCK = 60.0
"""Seconds for which dead letters wait and none is written until that is said."""

DLQ_ALARMS = AlarmRules(
    condition=r.DLQ_HEALTHY,
    reasons={r.DLQ_GROWING: r.DLQ_GROWING, r.DLQ_BLOCKED: r.DLQ_BLOCKED},
    at_once={r.DLQ_GROWING, r.DLQ_BLOCKED},
    action="Count",
)


class DeadLetters:
    """Judges the dead letters of each pipeline.

    The texts have no numbers: a condition that changed with every dead letter would be a write for each.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._grew: dict[ObjectKey, float] = {}
        self._stuck: dict[ObjectKey, float] = {}

    def forget(self, key: ObjectKey) -> None:
        """The object is gone, or keeps no dead letters."""
        self._grew.pop(key, None)
        self._stuck.pop(key, None)

    def judge(
        self,
        key: ObjectKey,
        pipeline: EtlPipeline,
        stage: str,
        tally: Tally,
        grown: Grown,
        conditions: Conditions,
    ) -> None:
        """Set the condition, or clear it where there is no dead-letter queue.

        :param stage: id of the stage that writes dead letters, "" without one.
        """
        dlq = pipeline.spec.dlq
        if dlq is None or not dlq.enabled:
            self.forget(key)
            conditions.clear(r.DLQ_HEALTHY)
        elif not stage:
            self._kept(tally, conditions)
        elif self._waits(key, stage, tally, grown):
            message = (
                f"dead letters wait, because EtlSink {dlq.sink} does not take them; other records wait too"
            )
            conditions.set(r.DLQ_HEALTHY, False, r.DLQ_BLOCKED, message)
        elif self._grows(key, grown, conditions):
            message = f"records failed in the last {_MINUTES} minutes and were written to EtlSink {dlq.sink}"
            conditions.set(r.DLQ_HEALTHY, False, r.DLQ_GROWING, message)
        else:
            message = f"no new dead letters for {_MINUTES} minutes"
            conditions.set(r.DLQ_HEALTHY, True, r.HEALTHY, message)

    @staticmethod
    def _kept(tally: Tally, conditions: Conditions) -> None:
        if any(series.mark for series in tally.errors.values()):
            message = (
                "records failed, and no sink takes them: the router holds them in its durable buffer, or in "
                "memory without an answer to their source; set spec.dlq.sink to have them written"
            )
            conditions.set(r.DLQ_HEALTHY, False, r.DLQ_GROWING, message)
        else:
            conditions.set(r.DLQ_HEALTHY, True, r.HEALTHY, "the router holds no dead letters")

    def _waits(self, key: ObjectKey, stage: str, tally: Tally, grown: Grown) -> bool:
        if grown.dead_letters or not tally.stage(stage)["buffered"]:
            self._stuck.pop(key, None)
            return False
        now = self._clock.monotonic()
        return now - self._stuck.setdefault(key, now) >= STUCK

    def _grows(self, key: ObjectKey, grown: Grown, conditions: Conditions) -> bool:
        now, before = self._clock.monotonic(), conditions.get(r.DLQ_HEALTHY)
        grew_before = before is not None and before["reason"] == r.DLQ_GROWING
        if grown.dead_letters or (grew_before and key not in self._grew):
            # A process that has just started does not know when, so it waits the whole time.
            self._grew[key] = now
        return now - self._grew.get(key, float("-inf")) < QUIET
