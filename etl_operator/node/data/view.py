"""What goes into the data plane and comes out: plain data, which can travel between processes. Pure."""

from __future__ import annotations

import msgspec


class Service(msgspec.Struct, frozen=True):
    """A registered service."""

    service_id: str
    kind: int
    """A ``ServiceType``."""
    name: str
    host: str
    port: int
    group: str = ""
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    use_tls: bool = False
    weight: int = 0
    """0: not given, taken as 1."""
    most_calls: int = 0
    """Calls at the same time; 0 for any number."""
    healthy: bool = True
    live: bool = True
    """Its lease lasts."""


class Pipeline(msgspec.Struct, frozen=True):
    """A pipeline as it is stored."""

    pipeline_id: str
    config: bytes
    """A serialised ``PipelineConfig``."""
    enabled: bool
    drain: bool = True
    """Disabled: what is under way is brought to its end. False: it is let go, and sources send it again."""
    created: float = 0.0
    """Wall-clock seconds since 1970: tells it apart from an earlier one with the same id."""


class Snapshot(msgspec.Struct, frozen=True):
    """All that the data plane has to know; each one replaces the one before."""

    applied: int
    """Number of the last log entry in it."""
    pipelines: list[Pipeline]
    services: list[Service]


class StageCounters(msgspec.Struct, frozen=True):
    """One stage of one pipeline on one node, since the node started."""

    processed: int = 0
    """Records that left the stage, filtered ones included."""
    buffered: int = 0
    """Records that wait for it or are under way."""
    errors: int = 0
    """Records that failed finally."""
    average_ms: float = 0.0
    """Moving mean of its calls."""
    calls: int = 0
    """Calls that were answered."""
    call_seconds: float = 0.0
    unanswered: int = 0
    """Calls that nobody answered."""
    broken: str = ""
    """The last answer of a service that repeating the call does not change; empty after a call that
    succeeded. Services that cannot be reached do not set it."""
    stored: int = 0
    """Records in the durable buffer in front of it, which all members share; not in ``buffered``."""


class PipelineReport(msgspec.Struct, frozen=True):
    """One pipeline on one node."""

    pending: int
    """Records taken and not decided."""
    dead_letters: int = 0
    """Records written to the dead-letter sink."""
    parked: int = 0
    """Failed records that wait because there is no dead-letter sink; part of ``pending``."""
    rejected: int = 0
    problem: str = ""
    """Why it cannot run; empty if it can."""
    stages: dict[str, StageCounters] = msgspec.field(default_factory=dict)
    buffer: str = ""
    """Why its durable buffer cannot be used at the moment; empty if it can, and without one."""
    uncertain: bool = False
    """It could not be found out how many records the durable buffer has."""

    @property
    def stored(self) -> int:
        """Records in the durable buffer, which all members share; not in ``pending``."""
        return sum(stage.stored for stage in self.stages.values())


class Report(msgspec.Struct, frozen=True):
    """One node."""

    applied: int
    """`Snapshot.applied` of the snapshot that holds: nothing that it forbids is taken any more."""
    pipelines: dict[str, PipelineReport] = msgspec.field(default_factory=dict)
    credits: int = 0
    """Records granted and not used."""
    pending_bytes: int = 0
    streams: int = 0
    outstanding: dict[str, int] = msgspec.field(default_factory=dict)
    """Records in calls, by id of the service."""
    buffer: str = ""
    """Why no record can be stored in the durable buffer at the moment; empty if they can, and without one."""


class Offset(msgspec.Struct, frozen=True):
    """How far a pipeline has come with one partition of a source."""

    pipeline_id: str
    source: str
    partition: int
    position: int


class Watermark(msgspec.Struct, frozen=True):
    """A partition's watermark whose records are all done."""

    source: str
    partition: int
    position: int
    seconds: int = 0
    nanos: int = 0


class Progress(msgspec.Struct, frozen=True):
    """What is to be committed."""

    offsets: list[Offset] = msgspec.field(default_factory=list)
    watermarks: list[Watermark] = msgspec.field(default_factory=list)
    holes: list[Offset] = msgspec.field(default_factory=list)
    """Not to be committed: the lowest position of a partition that was let go here and did not come again.
    Nothing beyond it is committed from here, unless another member has delivered it."""
