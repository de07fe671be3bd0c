"""The replicated state: pipelines, checkpoints, and the cluster's own id. Pure; the same on every node.

A pipeline has two states, and each command moves it so::

               Create            Enable             Update
    (absent) ─────────▶ disabled ─────────▶ enabled ───────▶ enabled, version + 1
        ▲                  │  ▲                │
        │      Delete      │  └── Disable ─────┤
        └──────────────────┴────── Delete ─────┘

Create on an existing id replaces it: version 1, disabled. Update keeps the flag. The other commands on an
absent id change nothing; whether that is an error is for the caller to say (`Outcome.found`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

from etl_operator.node.control.checkpoints import Checkpoints, GroupRow, Saved, SourceRow, Stored


class Pipeline(msgspec.Struct, frozen=True, array_like=True):
    """One pipeline."""

    pipeline_id: str
    config: bytes
    """The serialised ``PipelineConfig``; opaque here."""
    enabled: bool
    version: int
    """Counts the Updates since the last Create, from 1."""
    created_at: float
    """Wall-clock seconds since 1970, from the node that proposed it."""
    updated_at: float
    drain: bool = True
    """Disabled: what is under way is brought to its end; false: it is let go."""


class _Command(msgspec.Struct, frozen=True, array_like=True, tag=True):
    pass


class Create(_Command, frozen=True, array_like=True, tag="create"):
    """Store a pipeline, disabled, in place of any other of this id."""

    pipeline_id: str
    config: bytes
    now: float


class Update(_Command, frozen=True, array_like=True, tag="update"):
    """Replace the config and count the version up, even if the config is the same."""

    pipeline_id: str
    config: bytes
    now: float


class Delete(_Command, frozen=True, array_like=True, tag="delete"):
    """Remove a pipeline, enabled or not."""

    pipeline_id: str


class SetEnabled(_Command, frozen=True, array_like=True, tag="enable"):
    """Enable or disable. The version stays."""

    pipeline_id: str
    enabled: bool
    now: float
    drain: bool = True
    """Of a pipeline that is disabled: bring to its end what is under way, or let it go."""


class NameCluster(_Command, frozen=True, array_like=True, tag="cluster"):
    """Give the cluster its id. The first one wins."""

    cluster_id: str


class CommitOffsets(_Command, frozen=True, array_like=True, tag="offsets"):
    """Groups, and sources by their own account, have come so far. Nothing goes back."""

    groups: list[GroupRow]
    sources: list[SourceRow]


class RaiseWatermarks(_Command, frozen=True, array_like=True, tag="watermarks"):
    """Watermarks rise."""

    rows: list[SourceRow]


class SaveCheckpoint(_Command, frozen=True, array_like=True, tag="checkpoint"):
    """Keep a service's state."""

    saved: Saved


Idempotent = CommitOffsets | RaiseWatermarks | SaveCheckpoint
"""Commands that may be applied twice."""
Command = Create | Update | Delete | SetEnabled | NameCluster | Idempotent


class _Stored(msgspec.Struct, frozen=True, array_like=True):
    cluster_id: str
    pipelines: list[Pipeline]
    # Snapshots of earlier versions end here.
    checkpoints: Stored = msgspec.field(default_factory=Stored)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command did."""

    found: bool
    """The pipeline existed before the command."""
    version: int = 0
    """The pipeline's version after it; 0 if there is none."""
    changed: bool = True
    """A watermark rose."""


_encoder = msgspec.msgpack.Encoder()
_command_decoder: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)
_state_decoder = msgspec.msgpack.Decoder(_Stored)


def encode(command: Command) -> bytes:
    """A command as the log carries it."""
    return _encoder.encode(command)


def decode(command: bytes) -> Command:
    """The other way round.

    :raises ValueError: this version does not know it.
    """
    return _command_decoder.decode(command)


class RouterState:
    """A `consensus.engine.StateMachine`."""

    def __init__(self) -> None:
        self.cluster_id = ""
        """Random, given by the first leader; empty until then."""
        self.on_change: Callable[[], None] = _nothing
        """Called after the pipelines changed."""
        self.checkpoints = Checkpoints()
        self._pipelines: dict[str, Pipeline] = {}

    def __len__(self) -> int:
        return len(self._pipelines)

    def __iter__(self) -> Iterator[Pipeline]:
        """Pipelines by id."""
        return iter(sorted(self._pipelines.values(), key=lambda pipeline: pipeline.pipeline_id))

    def get(self, pipeline_id: str) -> Pipeline | None:
        """One pipeline, or None."""
        return self._pipelines.get(pipeline_id)

    def apply(self, command: bytes) -> Outcome:
        """Apply an encoded command. One this version does not know changes nothing."""
        try:
            decoded = decode(command)
        except ValueError:
            return Outcome(found=False)
        return self.run(decoded)

    def run(self, command: Command) -> Outcome:
        """Apply a command."""
        if isinstance(command, NameCluster):
            self.cluster_id = self.cluster_id or command.cluster_id
            return Outcome(found=False)
        if isinstance(command, Idempotent):
            return Outcome(found=True, changed=self._move(command))
        old = self._pipelines.get(command.pipeline_id)
        new = _after(command, old)
        if new is None:
            self._pipelines.pop(command.pipeline_id, None)
            self.checkpoints.forget_group(command.pipeline_id)
        else:
            self._pipelines[command.pipeline_id] = new
        self.on_change()
        return Outcome(found=old is not None, version=new.version if new else 0)

    def _move(self, command: Idempotent) -> bool:
        checkpoints = self.checkpoints
        match command:
            case CommitOffsets(groups, sources):
                checkpoints.commit(groups, self._runs)
                checkpoints.commit_sources(sources)
            case RaiseWatermarks(rows):
                return checkpoints.raise_watermarks(rows)
            case SaveCheckpoint(saved):
                checkpoints.save(saved)
        return True

    def _runs(self, pipeline_id: str) -> bool:
        pipeline = self._pipelines.get(pipeline_id)
        return pipeline is not None and pipeline.enabled

    def snapshot(self) -> bytes:
        """The whole state."""
        return _encoder.encode(_Stored(self.cluster_id, list(self), self.checkpoints.stored()))

    def valid(self, data: bytes) -> bool:
        """``data`` is what `snapshot` returns."""
        try:
            _state_decoder.decode(data)
        except ValueError:
            return False
        return True

    def restore(self, data: bytes) -> None:
        """The state a snapshot holds; its checksum has been verified by the engine."""
        stored = _state_decoder.decode(data)
        self.cluster_id = stored.cluster_id
        self._pipelines = {pipeline.pipeline_id: pipeline for pipeline in stored.pipelines}
        self.checkpoints = Checkpoints(stored.checkpoints)
        self.on_change()


def _nothing() -> None:
    """Nobody listens."""


def _after(command: Create | Update | Delete | SetEnabled, old: Pipeline | None) -> Pipeline | None:
    match command:
        case Create(pipeline_id, config, now):
            return Pipeline(pipeline_id, config, enabled=False, version=1, created_at=now, updated_at=now)
        case Delete():
            return None
        case Update(_, config, now) if old is not None:
            return msgspec.structs.replace(old, config=config, version=old.version + 1, updated_at=now)
        case SetEnabled(_, enabled, now, drain) if old is not None:
            if (old.enabled, old.drain) == (enabled, drain):
                return old
            since = now if old.enabled is not enabled else old.updated_at
            return msgspec.structs.replace(old, enabled=enabled, drain=drain, updated_at=since)
        case _:
            return old
