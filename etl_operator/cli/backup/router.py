"""``BackupService`` of a router, as a client."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import grpc
import grpc.aio

from etl_operator.cli.backup.manifest import BackupError
from etl_operator.router.metadata import OVERWRITE_KEY
from etl_operator.router.pb import backup_pb2, backup_pb2_grpc
from etl_operator.router.statuses import is_lost
from etl_operator.tls.credentials import ChannelTls

OWN = "etl-operator-"
"""Ids of this program's backups on a member begin with it."""
CHUNK = 256 * 1024
"""Bytes in one message."""
RETRY_SECONDS = 30.0
"""How long a call that changes nothing is repeated while the cluster has no leader."""
_PAUSE = 0.5
_OPTIONS = [("grpc.max_metadata_size", 2**20), ("grpc.enable_http_proxy", 0)]


class Router:
    """One connection to one member: backups are on the disk of the member that made or received them.

    :param address: ``host:port``.
    :param timeout: seconds for each call.
    :param tls: of the connection, or None.
    """

    def __init__(self, address: str, timeout: float, tls: ChannelTls | None = None) -> None:
        self._tls = tls
        self._address = address
        self._timeout = timeout

    async def __aenter__(self) -> Router:
        if self._tls is None:
            self._channel = grpc.aio.insecure_channel(self._address, options=_OPTIONS)
        else:
            credentials = self._tls.credentials()
            self._channel = grpc.aio.secure_channel(self._address, credentials, options=_OPTIONS)
        self._stub: Any = backup_pb2_grpc.BackupServiceStub(self._channel)  # type: ignore[no-untyped-call]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close(None)

    async def create(self) -> backup_pb2.CreateSnapshotResponse:
        """Have the member write a backup of the state, with everything that was acknowledged before. Its id
        begins with `OWN`.

        :raises BackupError: it was not made.
        """
        end: float | None = None
        with self._explained("CreateSnapshot"):
            while True:
                # Another id each time: a call whose answer was lost may have made the backup.
                request = backup_pb2.CreateSnapshotRequest(snapshot_id=f"{OWN}{uuid.uuid4().hex}")
                try:
                    answer: backup_pb2.CreateSnapshotResponse = await self._stub.CreateSnapshot(
                        request, timeout=self._timeout
                    )
                except grpc.aio.AioRpcError as error:
                    # From the first failure on: a busy member may take long before its connection is lost.
                    end = end or time.monotonic() + RETRY_SECONDS
                    lost = is_lost(error.code().name, error.details())
                    if not (lost or error.code() is grpc.StatusCode.UNAVAILABLE) or time.monotonic() >= end:
                        raise
                    await asyncio.sleep(_PAUSE)
                else:
                    return answer

    async def stream(self, backup_id: str) -> AsyncIterator[bytes]:
        """The backup, compressed with gzip.

        :raises BackupError: it did not arrive whole.
        """
        request = backup_pb2.StreamSnapshotRequest(
            snapshot_id=backup_id, compression=backup_pb2.COMPRESSION_GZIP
        )
        offset, complete = 0, False
        with self._explained("StreamSnapshot"):
            async for chunk in self._stub.StreamSnapshot(request, timeout=self._timeout):
                if chunk.offset != offset:
                    raise BackupError(
                        f"router {self._address}: StreamSnapshot: offset {chunk.offset} instead of {offset}"
                    )
                offset, complete = offset + len(chunk.data), chunk.is_last
                yield chunk.data
        if not complete:
            raise BackupError(f"router {self._address}: StreamSnapshot ended early, after {offset} bytes")

    async def upload(self, stream: AsyncIterator[bytes]) -> str:
        """Send a backup; its id on the member.

        :raises BackupError: it was refused, or ``stream`` raises it.
        """
        failure: list[BackupError] = []

        async def chunks() -> AsyncIterator[backup_pb2.DataChunk]:
            offset = 0
            try:
                async for data in stream:
                    for begin in range(0, len(data), CHUNK):
                        piece = data[begin : begin + CHUNK]
                        yield backup_pb2.DataChunk(data=piece, offset=offset)
                        offset += len(piece)
            except BackupError as error:
                # gRPC would only say that the call was cancelled. Without is_last nothing is kept.
                failure.append(error)
                return
            yield backup_pb2.DataChunk(offset=offset, is_last=True)

        with self._explained("UploadSnapshot", failure):
            answer = await self._stub.UploadSnapshot(chunks(), timeout=self._timeout)
        return str(answer.snapshot_id)

    async def restore(self, backup_id: str, *, overwrite: bool, validate_only: bool) -> str:
        """Check a backup against the cluster and, unless ``validate_only``, restore it; what the member says.

        :raises BackupError: it was refused.
        """
        request = backup_pb2.RestoreSnapshotRequest(snapshot_id=backup_id, validate_only=validate_only)
        metadata = ((OVERWRITE_KEY, "true"),) if overwrite else ()
        with self._explained("RestoreSnapshot"):
            answer = await self._stub.RestoreSnapshot(request, timeout=self._timeout, metadata=metadata)
        if not answer.success:
            raise BackupError(f"router {self._address}: {answer.message}")
        return str(answer.message)

    async def delete(self, backup_id: str) -> None:
        """Remove a backup from the member.

        :raises BackupError: it was not removed.
        """
        request = backup_pb2.DeleteSnapshotRequest(snapshot_id=backup_id)
        with self._explained("DeleteSnapshot"):
            await self._stub.DeleteSnapshot(request, timeout=self._timeout)

    async def kept(self) -> dict[str, int]:
        """Ids of the backups on the member, and when they were made, in seconds since 1970.

        :raises BackupError: they cannot be listed.
        """
        with self._explained("ListSnapshots"):
            answer = await self._stub.ListSnapshots(backup_pb2.ListSnapshotsRequest(), timeout=self._timeout)
        return {one.snapshot_id: one.created_at for one in answer.snapshots}

    @contextmanager
    def _explained(self, method: str, cause: list[BackupError] | None = None) -> Iterator[None]:
        try:
            yield
        except grpc.aio.AioRpcError as error:
            if cause:
                raise cause[0] from None
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                raise BackupError(
                    f"router {self._address} does not serve BackupService: it is a published router, or "
                    "older than this program"
                ) from None
            text = f"router {self._address}: {method}: {error.code().name}: {error.details()}"
            raise BackupError(text) from None
