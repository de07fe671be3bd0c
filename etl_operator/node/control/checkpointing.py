"""``CheckpointService``: how far sources have come, and what services keep with the cluster.

Every node serves it. Writes go through the log, those of followers by way of the leader; reads come from this
node's copy, as those of ``RouterAdmin`` do.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable
from typing import Any

import grpc
from google.protobuf import timestamp_pb2

from etl_operator.node.consensus.engine import ConsensusEngine, ConsensusError, NotLeader
from etl_operator.node.control import state
from etl_operator.node.control.checkpoints import (
    MOST_DATA,
    MOST_ROWS,
    MOST_SAVED,
    GroupRow,
    Key,
    Position,
    Saved,
    SourceRow,
    global_watermark,
)
from etl_operator.node.control.peers import Peers
from etl_operator.node.control.services import Context, abort
from etl_operator.router.pb import checkpoint_pb2, common_pb2, router_pb2


class CheckpointService:
    """All nine RPCs."""

    def __init__(self, engine: ConsensusEngine, replicated: state.RouterState, peers: Peers) -> None:
        self._engine = engine
        self._state = replicated
        self._peers = peers

    async def CommitOffset(self, request: checkpoint_pb2.CommitOffsetRequest, context: Context) -> Any:
        """A source's own account; a lower offset than the present one changes nothing."""
        await _require(request.source_id, "source_id", context)
        row = SourceRow(request.source_id, request.partition, request.offset, *_time(request.timestamp))
        await self._commit(state.CommitOffsets([], [row]), context)
        return checkpoint_pb2.CommitOffsetResponse(success=True)

    async def GetSourceOffset(self, request: checkpoint_pb2.GetOffsetRequest, context: Context) -> Any:
        """Offsets of a source, of one partition if one is named."""
        await self._before_read(context)
        wanted = request.partition if request.HasField("partition") else None
        answer = checkpoint_pb2.GetOffsetResponse()
        for partition, position in _of(self._state.checkpoints.sources, request.source_id, wanted):
            answer.offsets[partition] = position.value
            answer.timestamps[partition].CopyFrom(_timestamp(position))
        return answer

    async def ReportWatermark(self, request: checkpoint_pb2.WatermarkRequest, context: Context) -> Any:
        """Raise a watermark; ``accepted`` is false if it is not higher than the present one."""
        mark = request.watermark
        await _require(mark.source_id, "watermark.source_id", context)
        row = SourceRow(mark.source_id, mark.partition, mark.position, *_time(mark.timestamp))
        outcome = await self._commit(state.RaiseWatermarks([row]), context)
        lowest = global_watermark(self._state.checkpoints.watermarks.items())
        return checkpoint_pb2.WatermarkResponse(
            accepted=outcome.changed, current_global_watermark=_watermark(*lowest) if lowest else None
        )

    async def GetWatermark(self, request: checkpoint_pb2.GetWatermarkRequest, context: Context) -> Any:
        """Watermarks of a source, and the lowest of all."""
        await self._before_read(context)
        marks = self._state.checkpoints.watermarks
        wanted = request.partition if request.HasField("partition") else None
        found = [((request.source_id, p), position) for p, position in _of(marks, request.source_id, wanted)]
        lowest = global_watermark(marks.items())
        return checkpoint_pb2.GetWatermarkResponse(
            watermarks=[_watermark(*one) for one in found],
            global_watermark=_watermark(*lowest) if lowest else None,
        )

    async def SaveCheckpoint(self, request: checkpoint_pb2.SaveCheckpointRequest, context: Context) -> Any:
        """Keep a service's state in place of what it saved before."""
        await _require(request.service_id, "service_id", context)
        size = len(request.data)
        if size > MOST_DATA:
            text = f"data: {size} bytes; the maximum is {MOST_DATA}"
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, text)
        old = self._state.checkpoints.saved.get(request.service_id)
        if self._state.checkpoints.saved_bytes - (len(old.data) if old else 0) + size > MOST_SAVED:
            text = (
                f"data: the checkpoints of all services would have more than {MOST_SAVED} bytes, the maximum"
            )
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
        saved = Saved(
            request.service_id,
            request.checkpoint_id or uuid.uuid4().hex,
            request.data,
            [
                (source, partition, offset)
                for source, offsets in sorted(request.source_offsets.items())
                for partition, offset in sorted(offsets.offsets.items())
            ],
            time.time(),
        )
        await self._commit(state.SaveCheckpoint(saved), context)
        return checkpoint_pb2.SaveCheckpointResponse(
            success=True, checkpoint_id=saved.checkpoint_id, created_at=_wall(saved.created_at)
        )

    async def GetCheckpoint(self, request: checkpoint_pb2.GetCheckpointRequest, context: Context) -> Any:
        """What a service saved last, or ``found=false``."""
        await self._before_read(context)
        saved = self._state.checkpoints.saved.get(request.service_id)
        if saved is None:
            return checkpoint_pb2.GetCheckpointResponse(found=False)
        return checkpoint_pb2.GetCheckpointResponse(
            found=True,
            checkpoint_id=saved.checkpoint_id,
            data=saved.data,
            source_offsets=_offsets(
                ((source, partition), value) for source, partition, value in saved.offsets
            ),
            created_at=_wall(saved.created_at),
        )

    async def GetGroupOffsets(self, request: checkpoint_pb2.GetGroupOffsetsRequest, context: Context) -> Any:
        """What a group has delivered, of one source if one is named."""
        await self._before_read(context)
        only = request.source_id if request.HasField("source_id") else None
        positions = self._state.checkpoints.groups.get(request.group_id, {})
        return checkpoint_pb2.GetGroupOffsetsResponse(
            source_offsets=_offsets(
                (key, position.value) for key, position in positions.items() if only in (None, key[0])
            )
        )

    async def CommitGroupOffset(
        self, request: checkpoint_pb2.CommitGroupOffsetRequest, context: Context
    ) -> Any:
        """A group has delivered a partition up to an offset; the router does this for its pipelines."""
        await _require(request.group_id, "group_id", context)
        await _require(request.source_id, "source_id", context)
        row = GroupRow(
            request.group_id, request.source_id, request.partition, request.offset, *_time(request.timestamp)
        )
        await self._commit(state.CommitOffsets([row], []), context)
        return checkpoint_pb2.CommitGroupOffsetResponse(success=True)

    async def GetPipelineCheckpoints(
        self, request: checkpoint_pb2.GetPipelineCheckpointsRequest, context: Context
    ) -> Any:
        """How far a pipeline has come, and what its services saved."""
        await self._before_read(context)
        checkpoints = self._state.checkpoints
        positions = checkpoints.groups.get(request.pipeline_id, {})
        names = self._service_names(request.pipeline_id)
        return checkpoint_pb2.GetPipelineCheckpointsResponse(
            service_checkpoints=[
                checkpoint_pb2.ServiceCheckpoint(
                    service_id=saved.service_id,
                    checkpoint_id=saved.checkpoint_id,
                    data=saved.data,
                    created_at=_wall(saved.created_at),
                )
                for saved in checkpoints.saved.values()
                # A service's id is its name, maybe with a namespace in front.
                if saved.service_id in names or saved.service_id.rpartition("/")[2] in names
            ],
            source_offsets=_offsets((key, position.value) for key, position in positions.items()),
            watermarks=[
                _watermark(key, position)
                for key, position in sorted(checkpoints.watermarks.items())
                if key in positions
            ],
        )

    def _service_names(self, pipeline_id: str) -> set[str]:
        pipeline = self._state.get(pipeline_id)
        if pipeline is None:
            return set()
        config = router_pb2.PipelineConfig.FromString(pipeline.config)
        return {stage.service_selector.service_name for stage in config.stages} - {""}

    async def _commit(self, command: state.Idempotent, context: Context) -> state.Outcome:
        if self._state.checkpoints.rows >= MOST_ROWS:
            text = f"the offsets of {MOST_ROWS} partitions are stored, the maximum"
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
        try:
            return await self._peers.propose(command)
        except NotLeader:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "no leader is known; retry")
        except ConsensusError as error:
            await abort(context, error)
        raise AssertionError("abort returned")

    async def _before_read(self, context: Context) -> None:
        try:
            await self._engine.read_barrier()
        except ConsensusError as error:
            await abort(context, error)


async def _require(value: str, field: str, context: Context) -> None:
    if not value:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{field}: required field is missing")
    return


def _of(positions: dict[Key, Position], source: str, partition: int | None) -> Iterable[tuple[int, Position]]:
    if partition is not None:
        found = positions.get((source, partition))
        return [(partition, found)] if found is not None else []
    return [(key[1], position) for key, position in positions.items() if key[0] == source]


def _offsets(rows: Iterable[tuple[Key, int]]) -> dict[str, checkpoint_pb2.PartitionOffsets]:
    found: dict[str, checkpoint_pb2.PartitionOffsets] = {}
    for (source, partition), value in rows:
        found.setdefault(source, checkpoint_pb2.PartitionOffsets()).offsets[partition] = value
    return found


def _watermark(key: Key, position: Position) -> common_pb2.Watermark:
    return common_pb2.Watermark(
        source_id=key[0], partition=key[1], position=position.value, timestamp=_timestamp(position)
    )


def _timestamp(position: Position) -> timestamp_pb2.Timestamp:
    return timestamp_pb2.Timestamp(seconds=position.seconds, nanos=position.nanos)


def _time(stamp: timestamp_pb2.Timestamp) -> tuple[int, int]:
    return stamp.seconds, stamp.nanos


def _wall(seconds: float) -> timestamp_pb2.Timestamp:
    return timestamp_pb2.Timestamp(seconds=int(seconds), nanos=int(seconds % 1 * 1e9))
