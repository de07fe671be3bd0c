"""Letting go of deleted objects: when the router has to be asked, and when not to wait for it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from controllers import reasons as r
from controllers.members import wanted_members
from controllers.status import seconds_of
from informers.cache.view import View
from informers.objects import Object

FORCE_ANNOTATION = "etl.router/force-delete"


@dataclass(frozen=True, slots=True)
class Release:
    """The finalizer may go now, with this event."""

    warning: bool
    reason: str
    note: str


def release_early(obj: Object, cluster: View | None, cluster_name: str) -> Release | None:
    """Reasons to let go without asking a router, or ``None``.

    :param cluster: the cluster that holds the remote state; ``None`` when it does not exist.
    :param cluster_name: what to call it.
    """
    meta = obj["metadata"]
    if (meta.get("annotations") or {}).get(FORCE_ANNOTATION) == "true":
        note = f"{FORCE_ANNOTATION} is set: let go without asking the router"
        return Release(True, r.FINALIZER_FORCED, note)
    if obj["spec"].get("deletionPolicy") == "Orphan":
        return Release(False, r.ORPHANED, "deletionPolicy is Orphan: left in the router as it is")
    if not cluster_name:
        return Release(False, r.RELEASED, "nothing was ever sent to a router")
    if cluster is None:
        return Release(False, r.RELEASED, f"cluster {cluster_name} is gone, nothing is left to clean up")
    if cluster.deleting:
        return Release(False, r.RELEASED, f"cluster {cluster_name} is being deleted, nothing to clean up")
    if wanted_members(cluster) == 0:
        return Release(False, r.RELEASED, f"cluster {cluster_name} has no members, nothing to clean up")
    return None


def release_with_namespace(obj: Object, cluster: View) -> Release | None:
    """What to do with an object whose namespace is being deleted: ``None`` is one try without waiting.

    A cluster of the same namespace goes as well, with all it holds. One of another namespace stays, and would
    go on with what nobody could delete any more.
    """
    namespace = obj["metadata"]["namespace"]
    if cluster.key.namespace != namespace:
        return None
    return Release(False, r.RELEASED, f"namespace {namespace} is being deleted, and {cluster.key} with it")


def let_go(obj: Object, error: str) -> Release:
    """The one try of :func:`release_with_namespace` failed."""
    namespace = obj["metadata"]["namespace"]
    note = f"namespace {namespace} is being deleted, the router may still hold this: {error}"
    return Release(True, r.ORPHANED, note)


def overdue(obj: Object, now: float, deadline: float) -> bool:
    """Whether the object has been waiting to go for longer than ``deadline`` seconds."""
    return now - seconds_of(obj["metadata"]["deletionTimestamp"]) >= deadline


def waiting_to_go(deadline: float, error: str) -> str:
    """What a deletion waits for, and what ends the waiting."""
    return (
        f"{error}; the object is let go when the router answers, {deadline:.0f} s after its deletion, or "
        f'with the annotation {FORCE_ANNOTATION}: "true"'
    )


def give_up(deadline: float, error: str) -> Release:
    """The router never answered: orphan what it holds, loudly."""
    note = f"gave up after {deadline:.0f} s, the router may still hold this: {error}"
    return Release(True, r.ORPHANED, note)
