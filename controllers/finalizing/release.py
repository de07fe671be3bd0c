"""Letting go of deleted objects: when the router has to be asked, and when not to wait for it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from controllers.finalizing.endings import Ending
from controllers.members.reach import wanted_members
from controllers.objects.specs import section, spec_of, text
from controllers.status import reasons as r
from informers.objects import Object
from informers.views.view import View

FORCE_ANNOTATION = "etl.router/force-delete"


@dataclass(frozen=True, slots=True)
class Release:
    """The finalizer may go now, with this event."""

    warning: bool
    reason: str
    note: str


def forced(obj: Object, left: str) -> Release | None:
    """The release of an object whose deletion is forced, or ``None``.

    :param left: what becomes of what routers hold of it.
    """
    annotations: Mapping[str, Any] = section(obj["metadata"], "annotations")
    if annotations.get(FORCE_ANNOTATION) != "true":
        return None
    return Release(True, r.FINALIZER_FORCED, f"{FORCE_ANNOTATION} is set: the router was not called; {left}")


def orphaned(obj: Object) -> bool:
    """Whether what routers hold of the object is to stay."""
    return text(spec_of(obj), "deletionPolicy") == "Orphan"


def release_without(cluster: View | None, name: str) -> Release | None:
    """The release of an object whose cluster cannot be asked, and need not be; else ``None``.

    :param cluster: the cluster that holds the remote state; ``None`` when it does not exist.
    :param name: what to call it; "" when no router was ever sent anything.
    """
    if not name:
        return Release(False, r.RELEASED, "it was never sent to a router")
    if cluster is None:
        return Release(False, r.RELEASED, f"cluster {name} does not exist")
    if cluster.deleting:
        return Release(False, r.RELEASED, f"cluster {name} is being deleted")
    if wanted_members(cluster) == 0:
        return Release(False, r.RELEASED, f"cluster {name} has no members")
    return None


def release_with(ending: Ending, cluster: View) -> Release:
    """The release of an object that goes together with its cluster."""
    return Release(False, r.RELEASED, f"{ending.why}, and {cluster.key} with it")


def let_go(ending: Ending, error: str) -> Release:
    """The one try of an object that must not wait failed."""
    return Release(True, r.ORPHANED, f"{ending.why}, it may still be in the router: {error}")


def waiting_to_go(deadline: float, error: str) -> str:
    """What a deletion waits for, and what ends the waiting."""
    return (
        f"{error}; the finalizer is removed when the router answers, after {deadline:.0f} s of waiting, or "
        f'with the annotation {FORCE_ANNOTATION}: "true"'
    )


def give_up(deadline: float, error: str) -> Release:
    """The router never answered: orphan the object there, with a Warning event."""
    note = f"no answer within {deadline:.0f} s, it may still be in the router: {error}"
    return Release(True, r.ORPHANED, note)


def defaulted(problems: str) -> str:
    """The note about a deletion of an object with a spec that is not valid."""
    return f"the spec is invalid; the deletion continues with defaults: {problems}"
