"""How fast an engine is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """Raft's clocks, in seconds.

    :param election_min: a member that hears from no leader for this long, plus a random part of the way to
        ``election_max``, stands for election.
    :param heartbeat: interval between a leader's messages.
    :raises ValueError: the combination cannot work.
    """

    election_min: float = 1.0
    election_max: float = 2.0
    heartbeat: float = 0.1

    def __post_init__(self) -> None:
        if self.heartbeat <= 0:
            raise ValueError("the heartbeat interval must be above zero")
        if self.election_max < self.election_min:
            raise ValueError("the longest election timeout is below the shortest")
        if self.election_min < 2 * self.heartbeat:
            raise ValueError("the election timeout must be at least twice the heartbeat interval")
