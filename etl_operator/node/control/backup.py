"""``BackupService``: copies of the replicated state, and their return.

Every node serves it, as `checkpointing` does. A backup is on the disk of the node that made or received it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
import uuid
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn

import grpc

from etl_operator import __version__
from etl_operator.node.consensus.engine import ConsensusEngine, ConsensusError, NotLeader
from etl_operator.node.control import archive, state
from etl_operator.node.control.archive import ArchiveError, Head
from etl_operator.node.control.backups import (
    BackupError,
    Backups,
    Exists,
    InvalidId,
    Kept,
    NoRoom,
    Receiving,
    Unknown,
    is_full,
)
from etl_operator.node.control.peers import Peers
from etl_operator.node.control.restoring import (
    PART_BYTES,
    BeginRestore,
    DropRestore,
    FinishRestore,
    RestorePart,
    Restoring,
)
from etl_operator.node.control.services import Context, abort
from etl_operator.router.metadata import OVERWRITE_KEY
from etl_operator.router.pb import backup_pb2

CHUNK = 256 * 1024
"""Bytes in one message."""
_NAMED = 3
"""Pipelines that a message names."""
_COMPRESSIONS = (backup_pb2.COMPRESSION_NONE, backup_pb2.COMPRESSION_GZIP)
_CODES: tuple[tuple[type[BackupError], grpc.StatusCode], ...] = (
    (InvalidId, grpc.StatusCode.INVALID_ARGUMENT),
    (Exists, grpc.StatusCode.ALREADY_EXISTS),
    (Unknown, grpc.StatusCode.NOT_FOUND),
    (NoRoom, grpc.StatusCode.RESOURCE_EXHAUSTED),
)


class _Refused(Exception):
    """A restore cannot be done; the text says why."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """A restore that was checked."""

    content: bytes
    report: str
    """What it does, for people."""


class BackupService:
    """All seven RPCs.

    :param services: number of registered services.
    """

    def __init__(
        self,
        engine: ConsensusEngine,
        replicated: state.RouterState,
        peers: Peers,
        backups: Backups,
        services: Callable[[], int],
    ) -> None:
        self._engine = engine
        self._state = replicated
        self._peers = peers
        self._backups = backups
        self._services = services
        self._dropping: set[asyncio.Task[None]] = set()

    async def CreateSnapshot(self, request: backup_pb2.CreateSnapshotRequest, context: Context) -> Any:
        """Write the state to this node's disk, with everything that was acknowledged before the call."""
        backup_id = request.snapshot_id or uuid.uuid4().hex
        async with _explained(context):
            await self._catch_up()
            # Both at one moment: nothing is applied in between.
            status, content = self._engine.status(), self._state.content()
            head = Head(
                version=__version__,
                commit_index=status.applied_index,
                term=status.term,
                created_at=time.time(),
                pipelines=len(self._state),
                size=len(content),
            )
            kept = await asyncio.to_thread(self._backups.create, backup_id, head, content)
        return backup_pb2.CreateSnapshotResponse(
            snapshot_id=backup_id,
            size_bytes=kept.size,
            commit_index=head.commit_index,
            term=head.term,
            timestamp=int(head.created_at),
        )

    async def StreamSnapshot(
        self, request: backup_pb2.StreamSnapshotRequest, context: Context
    ) -> AsyncIterator[backup_pb2.DataChunk]:
        """The file of a backup, compressed if asked for; ``offset`` counts the bytes that are sent."""
        if request.compression not in _COMPRESSIONS:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                "compression: this node has no zstd; use COMPRESSION_GZIP or COMPRESSION_NONE",
            )
        async with _explained(context):
            kept = await asyncio.to_thread(self._backups.find, request.snapshot_id)
            gzip = request.compression == backup_pb2.COMPRESSION_GZIP
            with kept.path.open("rb") as file:
                stream = _Stream(file, gzip=gzip)
                offset, data = 0, await asyncio.to_thread(stream.read)
                while data:
                    following = await asyncio.to_thread(stream.read)
                    yield backup_pb2.DataChunk(data=data, offset=offset, is_last=not following)
                    offset, data = offset + len(data), following

    async def DeleteSnapshot(self, request: backup_pb2.DeleteSnapshotRequest, context: Context) -> Any:
        """Remove a backup from this node; an unknown one is fine."""
        async with _explained(context):
            await asyncio.to_thread(self._backups.delete, request.snapshot_id)
        return backup_pb2.DeleteSnapshotResponse(success=True)

    async def UploadSnapshot(self, requests: AsyncIterator[backup_pb2.DataChunk], context: Context) -> Any:
        """Take what `StreamSnapshot` sent, under a new id. It is kept only if it is whole and undamaged."""
        backup_id = uuid.uuid4().hex
        async with _explained(context):
            receiving = await asyncio.to_thread(self._backups.receive, backup_id)
            with receiving:
                await _receive(requests, receiving, context)
                await asyncio.to_thread(receiving.keep)
        return backup_pb2.UploadSnapshotResponse(success=True, snapshot_id=backup_id)

    async def RestoreSnapshot(self, request: backup_pb2.RestoreSnapshotRequest, context: Context) -> Any:
        """Replace the state of the cluster by that of a backup, in one step; refused unless the cluster is
        empty or the request has `OVERWRITE_KEY`. With ``validate_only`` everything is checked, and nothing is
        changed."""
        overwrite = _is_overwrite(context)
        async with _explained(context):
            kept = await asyncio.to_thread(self._backups.find, request.snapshot_id)
            await self._catch_up()
            try:
                plan = await self._check(kept, overwrite)
                if not request.validate_only:
                    await self._restore(plan.content, overwrite)
            except (_Refused, ArchiveError) as error:
                return backup_pb2.RestoreSnapshotResponse(success=False, message=str(error))
        done = f"valid: {plan.report}" if request.validate_only else f"restored: {plan.report}"
        return backup_pb2.RestoreSnapshotResponse(success=True, message=done, state=_metadata(kept.head))

    async def GetStateMetadata(self, request: backup_pb2.GetStateMetadataRequest, context: Context) -> Any:
        """The present state of this node."""
        async with _explained(context):
            await self._engine.read_barrier()
        status = self._engine.status()
        return backup_pb2.StateMetadata(
            commit_index=status.applied_index,
            term=status.term,
            service_count=self._services(),
            pipeline_count=len(self._state),
            version=__version__,
        )

    async def ListSnapshots(self, request: backup_pb2.ListSnapshotsRequest, context: Context) -> Any:
        """The backups on this node, by id."""
        async with _explained(context):
            found = await asyncio.to_thread(self._backups.all)
        return backup_pb2.ListSnapshotsResponse(
            snapshots=[
                backup_pb2.SnapshotInfo(
                    snapshot_id=kept.backup_id,
                    size_bytes=kept.size,
                    commit_index=kept.head.commit_index,
                    term=kept.head.term,
                    created_at=int(kept.head.created_at),
                )
                for kept in found
            ]
        )

    async def _catch_up(self) -> None:
        await self._engine.read_barrier()
        await self._peers.catch_up()

    async def _check(self, kept: Kept, overwrite: bool) -> _Plan:
        await asyncio.to_thread(archive.verify, kept.path)
        content = await asyncio.to_thread(archive.content, kept.path)
        try:
            decoded = state.decode_content(content)
        except ValueError as error:
            raise _Refused(f"the state in the backup cannot be decoded: {error}") from error
        report = f"{len(decoded.pipelines)} pipelines, as of log entry {kept.head.commit_index}"
        if self._state.is_empty:
            return _Plan(content, report)
        conflict = self._conflict(decoded)
        if not overwrite:
            raise _Refused(
                f"the cluster is not empty: it has {conflict}. Restore into an empty cluster, or replace "
                f"everything in it (request metadata {OVERWRITE_KEY}: true; etl-operator restore --overwrite)"
            )
        return _Plan(content, f"{report}, in place of {conflict}")

    def _conflict(self, content: state.Content) -> str:
        """What the cluster has, and which pipelines both have, but not the same."""
        differing = [
            one.pipeline_id
            for one in content.pipelines
            if (here := self._state.get(one.pipeline_id)) is not None and here.config != one.config
        ]
        has = f"{len(self._state)} pipelines"
        if self._state.checkpoints.rows or self._state.checkpoints.saved:
            has += " and checkpoints"
        if not differing:
            return has
        named = ", ".join(differing[:_NAMED]) + (", …" if len(differing) > _NAMED else "")
        return f"{has}, of which {len(differing)} differ from those in the backup ({named})"

    async def _restore(self, content: bytes, overwrite: bool) -> None:
        restore_id = uuid.uuid4().hex
        digest = await asyncio.to_thread(lambda: hashlib.sha256(content).digest())
        try:
            await self._propose(BeginRestore(restore_id, len(content), digest))
            for offset in range(0, len(content), PART_BYTES):
                await self._propose(RestorePart(restore_id, offset, content[offset : offset + PART_BYTES]))
            await self._propose(FinishRestore(restore_id, overwrite))
        except BaseException:
            # Also for a call that was cancelled: what is staged would stay in the log of every member.
            task = asyncio.get_running_loop().create_task(self._drop(restore_id))
            self._dropping.add(task)
            task.add_done_callback(self._dropping.discard)
            raise

    async def _propose(self, command: Restoring) -> None:
        outcome = await self._peers.propose(command)
        if outcome.problem:
            raise _Refused(f"the cluster refused the restore: {outcome.problem}; nothing was changed")

    async def _drop(self, restore_id: str) -> None:
        # Else the next restore does it.
        with contextlib.suppress(ConsensusError):
            await self._peers.propose(DropRestore(restore_id))


class _Stream:
    """A file, in pieces of about `CHUNK` bytes; empty at the end."""

    def __init__(self, file: BinaryIO, *, gzip: bool) -> None:
        self._file = file
        # Level 1: the state is mostly repeated field names, and a node has other things to do.
        self._deflate = zlib.compressobj(1, wbits=31) if gzip else None

    def read(self) -> bytes:
        """The next piece; blocks."""
        if self._deflate is None:
            return self._file.read(CHUNK)
        pieces: list[bytes] = []
        length = 0
        while length < CHUNK:
            block = self._file.read(CHUNK)
            if not block:
                pieces.append(self._deflate.flush())
                self._deflate = None
                break
            pieces.append(self._deflate.compress(block))
            length += len(pieces[-1])
        return b"".join(pieces)


async def _receive(
    requests: AsyncIterator[backup_pb2.DataChunk], receiving: Receiving, context: Context
) -> None:
    offset, complete = 0, False
    async for chunk in requests:
        if chunk.offset != offset or complete:
            text = f"offset: {chunk.offset} instead of {offset}"
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "data after is_last" if complete else text)
        await asyncio.to_thread(receiving.write, chunk.data)
        offset, complete = offset + len(chunk.data), chunk.is_last
    if not complete:
        await context.abort(
            grpc.StatusCode.INVALID_ARGUMENT, f"is_last: the stream ended after {offset} bytes without it"
        )


def _is_overwrite(context: Context) -> bool:
    return (OVERWRITE_KEY, "true") in {(key, value) for key, value in context.invocation_metadata() or ()}


def _metadata(head: Head) -> backup_pb2.StateMetadata:
    return backup_pb2.StateMetadata(
        commit_index=head.commit_index, term=head.term, pipeline_count=head.pipelines, version=head.version
    )


@contextlib.asynccontextmanager
async def _explained(context: Context) -> AsyncIterator[None]:
    """Ends the call with the status for what went wrong."""
    try:
        yield
    except NotLeader:
        await context.abort(grpc.StatusCode.UNAVAILABLE, "no leader is known; retry")
    except ConsensusError as error:
        await abort(context, error)
    except BackupError as error:
        code = next(code for kind, code in _CODES if isinstance(error, kind))
        await context.abort(code, str(error))
    except ArchiveError as error:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
    except OSError as error:
        await _abort_for(error, context)


async def _abort_for(error: OSError, context: Context) -> NoReturn:
    code = grpc.StatusCode.RESOURCE_EXHAUSTED if is_full(error) else grpc.StatusCode.INTERNAL
    await context.abort(code, f"the data directory: {error.strerror}")
    raise AssertionError("abort returned")
