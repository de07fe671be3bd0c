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
from etl_operator.node.control.restoring import (
    BeginRestore,
    DropRestore,
    FinishRestore,
    RestorePart,
    Restoring,
    Staged,
    Staging,
)


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


_Moving = CommitOffsets | RaiseWatermarks | SaveCheckpoint
Idempotent = _Moving | Restoring
"""Commands that may be applied twice."""
Command = Create | Update | Delete | SetEnabled | NameCluster | Idempotent


class _Stored(msgspec.Struct, frozen=True, array_like=True):
    cluster_id: str
    pipelines: list[Pipeline]
    # Snapshots of earlier versions end here.
    checkpoints: Stored = msgspec.field(default_factory=Stored)
    # Here, too.
    staged: Staged = msgspec.field(default_factory=Staged)


class Content(msgspec.Struct, frozen=True, array_like=True):
    """What a backup has: everything but the id of the cluster, which stays that of its members."""

    pipelines: list[Pipeline]
    checkpoints: Stored


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command did."""

    found: bool
    """The pipeline existed before the command."""
    version: int = 0
    """The pipeline's version after it; 0 if there is none."""
    changed: bool = True
    """A watermark rose."""
    problem: str = ""
    """Why a restore was refused; empty if it was not."""


_encoder = msgspec.msgpack.Encoder()
_command_decoder: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)
_state_decoder = msgspec.msgpack.Decoder(_Stored)
_content_decoder = msgspec.msgpack.Decoder(Content)


def encode(command: Command) -> bytes:
    """A command as the log carries it."""
    return _encoder.encode(command)


def decode(command: bytes) -> Command:
    """The other way round.

    :raises ValueError: this version does not know it.
    """
    return _command_decoder.decode(command)


def decode_content(data: bytes) -> Content:
    """What `RouterState.content` returns.

    :raises ValueError: it is not that.
    """
    return _content_decoder.decode(data)


class RouterState:
    """A `consensus.engine.StateMachine`."""

    def __init__(self) -> None:
        self.cluster_id = ""
        """Random, given by the first leader; empty until then."""
        self.on_change: Callable[[], None] = _nothing
        """Called after the pipelines changed."""
        self.checkpoints = Checkpoints()
        self._pipelines: dict[str, Pipeline] = {}
        self._staging = Staging()

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
        if isinstance(command, _Moving):
            return Outcome(found=True, changed=self._move(command))
        if isinstance(command, Restoring):
            return Outcome(found=True, problem=self._stage(command))
        old = self._pipelines.get(command.pipeline_id)
        new = _after(command, old)
        if new is None:
            self._pipelines.pop(command.pipeline_id, None)
            self.checkpoints.forget_group(command.pipeline_id)
        else:
            self._pipelines[command.pipeline_id] = new
        self.on_change()
        return Outcome(found=old is not None, version=new.version if new else 0)

    def _move(self, command: _Moving) -> bool:
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

    def _stage(self, command: Restoring) -> str:
        match command:
            case BeginRestore():
                return self._staging.begin(command)
            case RestorePart():
                return self._staging.add(command)
            case DropRestore(restore_id):
                self._staging.drop(restore_id)
                return ""
            case FinishRestore(restore_id, overwrite):
                return self._replace(restore_id, overwrite)

    def _replace(self, restore_id: str, overwrite: bool) -> str:
        if restore_id == self._staging.finished:
            return ""
        data, problem = self._staging.content(restore_id)
        if problem:
            return problem
        if not overwrite and not self.is_empty:
            return "the cluster is not empty"
        try:
            content = decode_content(data)
        except ValueError as error:
            return f"the staged state cannot be decoded: {error}"
        self._pipelines = {pipeline.pipeline_id: pipeline for pipeline in content.pipelines}
        self.checkpoints = Checkpoints(content.checkpoints)
        self._staging.finish(restore_id)
        self.on_change()
        return ""

    @property
    def is_empty(self) -> bool:
        """There are no pipelines, no offsets, no watermarks and no checkpoints of services."""
        return not self._pipelines and self.checkpoints.is_empty

    def content(self) -> bytes:
        """What a backup has; equal states have equal bytes."""
        return _encoder.encode(Content(list(self), self.checkpoints.stored()))

    def _runs(self, pipeline_id: str) -> bool:
        pipeline = self._pipelines.get(pipeline_id)
        return pipeline is not None and pipeline.enabled

    def snapshot(self) -> bytes:
        """The whole state."""
        return _encoder.encode(
            _Stored(self.cluster_id, list(self), self.checkpoints.stored(), self._staging.stored())
        )

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
        self._staging = Staging(stored.staged)
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
