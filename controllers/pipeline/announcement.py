"""The events about a pipeline: what was done in a router, and trouble that a user should act on. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from controllers.pipeline.drift import shown
from controllers.pipeline.sync import Synced
from controllers.retrying.troubles import AlarmRules
from controllers.status import reasons as r

ALARMS = AlarmRules(
    condition=r.READY,
    reasons={
        r.REFERENCE_NOT_FOUND: r.REFERENCE_NOT_FOUND,
        r.CLUSTER_NOT_FOUND: r.CLUSTER_NOT_FOUND,
        r.AMBIGUOUS_CLUSTER: r.AMBIGUOUS_CLUSTER,
        r.NOT_ALLOWED: r.NOT_ALLOWED,
        r.UNREACHABLE: r.UNREACHABLE,
        r.RETRYING: r.SUBMIT_FAILED,
        r.NAME_CONFLICT: r.NAME_CONFLICT,
        r.VALIDATION_FAILED: r.VALIDATION_FAILED,
        r.REJECTED: r.SUBMIT_FAILED,
        r.ADMIN_UNAVAILABLE: r.SUBMIT_FAILED,
    },
    at_once={r.NAME_CONFLICT, r.VALIDATION_FAILED, r.REJECTED, r.ADMIN_UNAVAILABLE},
    action="Submit",
)


class Announcement(NamedTuple):
    """A Normal event."""

    reason: str
    action: str
    note: str


def announcements(done: Synced) -> Iterator[Announcement]:
    """What to say of what was done in the router; nothing when it held the pipeline as it should."""
    if done.adopted:
        whose = "of a deleted object of the same name in" if done.inherited else "that existed in"
        yield Announcement(r.ADOPTED, "Adopt", f"took over the pipeline {whose} the router")
    if done.drifted:
        what = (
            "lost"
            if done.created
            else "changed"
            if done.updated
            else "disabled"
            if done.enabled
            else "enabled"
        )
        which = f": {shown(done.changed)}" if done.updated else ""
        yield Announcement(
            r.DRIFT_CORRECTED, "Submit", f"reverted a change in the router: the pipeline was {what}{which}"
        )
    elif done.created:
        yield Announcement(r.PIPELINE_SUBMITTED, "Submit", "submitted to the router")
    elif done.updated:
        note = f"the router accepted the new spec as version {done.version}"
        yield Announcement(r.PIPELINE_UPDATED, "Submit", note)
    elif done.switched:
        reason = r.RESUMED if done.enabled else r.PIPELINE_PAUSED
        word = "enabled" if done.enabled else "disabled"
        yield Announcement(reason, "Switch", f"the pipeline is {word}")
    elif done.drained:
        yield Announcement(r.DRAINED, "Switch", "the pipeline is disabled and drained")
