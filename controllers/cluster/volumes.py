"""What to do about the size of the volumes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from controllers.applying.comparing import quantity
from informers.objects import Object

_RESIZE_AT_START = "FileSystemResizePending"
_INFEASIBLE = frozenset(
    f"{where}Resize{how}" for where in ("Controller", "Node") for how in ("Infeasible", "Failed")
)
"""Final states of ``allocatedResourceStatuses``; ``Failed`` is the word of servers before 1.32."""


@dataclass(frozen=True, slots=True)
class VolumePlan:
    """Names of claims, by what has to happen to them; sorted."""

    grow: tuple[str, ...] = ()
    """Bound and smaller than the spec: to be patched."""
    unbound: tuple[str, ...] = ()
    """Smaller than the spec and not bound yet. The API server lets only bound claims grow."""
    pending: tuple[str, ...] = ()
    """Their growth is under way outside their pods."""
    at_start: tuple[str, ...] = ()
    """The volume has grown; its file system follows on the node, with some drivers only when a pod starts."""
    infeasible: tuple[str, ...] = ()
    """The driver has said that it cannot."""
    shrink: tuple[str, ...] = ()
    """Larger than the spec."""

    @property
    def growing(self) -> tuple[str, ...]:
        """Claims that do not have their size yet and may still get it."""
        return tuple(sorted(self.grow + self.unbound + self.pending + self.at_start))


def plan_volumes(claims: Sequence[Object], size: int | str) -> VolumePlan:
    """Compare every claim with ``spec.storage.size``."""
    wanted = quantity(size)
    found: dict[str, list[str]] = {}
    for claim in claims:
        what = _what(claim, wanted)
        if what:
            found.setdefault(what, []).append(claim["metadata"]["name"])
    return VolumePlan(**{what: tuple(sorted(names)) for what, names in found.items()})


def _what(claim: Object, wanted: Decimal) -> str:
    """The field of :class:`VolumePlan` the claim belongs to, or ""."""
    status = claim.get("status") or {}
    requested = quantity(claim["spec"]["resources"]["requests"]["storage"])
    if requested > wanted:
        return "shrink"
    if requested < wanted:
        return "grow" if status.get("phase") == "Bound" else "unbound"
    capacity = (status.get("capacity") or {}).get("storage")
    if capacity is None or quantity(capacity) >= wanted:
        return ""
    if (status.get("allocatedResourceStatuses") or {}).get("storage") in _INFEASIBLE:
        return "infeasible"
    conditions = {one["type"]: one["status"] for one in status.get("conditions") or ()}
    return "at_start" if conditions.get(_RESIZE_AT_START) == "True" else "pending"
