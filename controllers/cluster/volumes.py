"""What to do about the size of the volumes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from controllers.comparing import quantity
from informers.objects import Object


@dataclass(frozen=True, slots=True)
class VolumePlan:
    """Claims to grow now, claims whose growth is under way, and whether a smaller size was asked for."""

    grow: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    shrink: tuple[str, ...] = ()

    @property
    def busy(self) -> bool:
        """Volumes move; restarting pods at the same time could leave both waiting for each other."""
        return bool(self.grow or self.pending)


def plan_volumes(claims: Sequence[Object], size: int | str) -> VolumePlan:
    """Compare every claim with ``spec.storage.size``."""
    wanted = quantity(size)
    grow: list[str] = []
    pending: list[str] = []
    shrink: list[str] = []
    for claim in claims:
        name = claim["metadata"]["name"]
        requested = quantity(claim["spec"]["resources"]["requests"]["storage"])
        capacity = (claim.get("status") or {}).get("capacity", {}).get("storage")
        if requested < wanted:
            grow.append(name)
        elif requested > wanted:
            shrink.append(name)
        elif capacity is not None and quantity(capacity) < wanted:
            pending.append(name)
    return VolumePlan(tuple(sorted(grow)), tuple(sorted(pending)), tuple(sorted(shrink)))
