"""The calls of one etcd member that the engine makes, with its errors by kind.

No client library for Python is used: see docs/decisions/etcd-engine.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc

from etl_operator.router.pb import etcd_pb2 as pb
from etl_operator.router.pb import etcd_pb2_grpc as stubs

OLDEST = (3, 5, 14)
"""Older ones lose watch events when they compact, and can be inconsistent after a crash."""

_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_http_proxy", 0),
    # A call that was sent must not be sent again: whether it was carried out is for the caller to find out.
    ("grpc.enable_retries", 0),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.use_local_subchannel_pool", 1),
]


class EtcdError(Exception):
    """A call failed. Unless a subclass says otherwise it is not known whether it was carried out."""


class Refused(EtcdError):
    """The call was not carried out; the text says why."""


class NoSpace(Refused):
    """The store has reached its quota and takes nothing until there is space and the alarm is cleared."""


class Compacted(Refused):
    """The history from this revision on is gone."""


_REFUSALS = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.UNIMPLEMENTED,
}


def _error(error: grpc.RpcError) -> EtcdError:
    code, text = error.code(), error.details() or ""
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "database space exceeded" in text:
        return NoSpace(text)
    if code is grpc.StatusCode.OUT_OF_RANGE and "has been compacted" in text:
        return Compacted(text)
    # The latter: not all members are connected, so the members are not changed.
    refused = code in _REFUSALS or "unhealthy cluster" in text
    return (Refused if refused else EtcdError)(f"{code.name}: {text}")


def version_problem(version: str) -> str:
    """Why this version of etcd cannot be used; empty if it can."""
    try:
        found = tuple(int(part) for part in version.partition("-")[0].split("."))
    except ValueError:
        return f"its version is {version!r}, which is no version of etcd"
    if found < OLDEST:
        return f"its version is {version}; 3.5.14 or newer is required"
    return ""


def prefix_end(prefix: bytes) -> bytes:
    """The first key after all that begin with ``prefix``."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


def unchanged(key: bytes, revision: int) -> pb.Compare:
    """True while ``key`` is as it was written at ``revision``; 0: while there is none."""
    return pb.Compare(result=pb.Compare.EQUAL, target=pb.Compare.MOD, key=key, mod_revision=revision)


def put(key: bytes, value: bytes) -> pb.RequestOp:
    """Write one key."""
    return pb.RequestOp(request_put=pb.PutRequest(key=key, value=value))


def delete(key: bytes, end: bytes = b"") -> pb.RequestOp:
    """Delete a key, or all from ``key`` up to ``end``."""
    return pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=key, range_end=end))


class Client:
    """One etcd member.

    :param targets: gRPC targets, such as ``unix:/run/etcd.sock`` or ``etcd-0.example:2379``; one is used at a
        time.
    :param within: seconds that a call has, unless it says otherwise.

    Every call raises `EtcdError`.
    """

    def __init__(
        self, targets: Sequence[str], *, within: float, tls: grpc.ChannelCredentials | None = None
    ) -> None:
        self._targets = list(targets)
        self._within = within
        self._tls = tls
        self._connect()

    def _connect(self) -> None:
        target = self._targets[0]
        if self._tls is None:
            self._channel = grpc.aio.insecure_channel(target, options=_OPTIONS)
        else:
            self._channel = grpc.aio.secure_channel(target, self._tls, options=_OPTIONS)
        self._kv: Any = stubs.KVStub(self._channel)  # type: ignore[no-untyped-call]
        self._watch: Any = stubs.WatchStub(self._channel)  # type: ignore[no-untyped-call]
        self._cluster: Any = stubs.ClusterStub(self._channel)  # type: ignore[no-untyped-call]
        self._maintenance: Any = stubs.MaintenanceStub(self._channel)  # type: ignore[no-untyped-call]

    async def next_target(self) -> None:
        """Use the next target, if there is one. What is under way fails."""
        if len(self._targets) > 1:
            self._targets.append(self._targets.pop(0))
            old = self._channel
            self._connect()
            await old.close(None)

    async def close(self) -> None:
        """End the channel and what is under way."""
        await self._channel.close(None)

    async def _call(self, method: Any, request: Any, within: float | None = None) -> Any:
        try:
            return await method(request, timeout=within or self._within)
        except grpc.RpcError as error:
            raise _error(error) from error

    async def range(
        self, key: bytes, end: bytes = b"", *, limit: int = 0, revision: int = 0, keys_only: bool = False
    ) -> pb.RangeResponse:
        """Keys in ascending order, linearizable unless at a ``revision``."""
        request = pb.RangeRequest(key=key, range_end=end, limit=limit, revision=revision, keys_only=keys_only)
        answer: pb.RangeResponse = await self._call(self._kv.Range, request)
        return answer

    async def txn(self, compare: Sequence[pb.Compare], then: Sequence[pb.RequestOp]) -> tuple[bool, int]:
        """Carry out all of ``then`` if every comparison holds; whether they did, and the revision."""
        answer = await self._call(self._kv.Txn, pb.TxnRequest(compare=compare, success=then))
        return answer.succeeded, answer.header.revision

    async def compact(self, revision: int) -> None:
        """Forget the history before ``revision``."""
        await self._call(self._kv.Compact, pb.CompactionRequest(revision=revision))

    async def watch(
        self, key: bytes, end: bytes, start: int, ping: asyncio.Event
    ) -> AsyncIterator[pb.WatchResponse]:
        """What happens to these keys from revision ``start`` on: whole revisions, in order.

        Responses without events say how far the watch has come. It ends with an error only.

        :param ping: set by the caller to have such a response.
        :raises Compacted: the history from ``start`` on is gone.
        """
        call = self._watch.Watch()
        create = pb.WatchCreateRequest(key=key, range_end=end, start_revision=start, progress_notify=True)
        pinging = asyncio.create_task(_ping(call, ping))
        try:
            await call.write(pb.WatchRequest(create_request=create))
            async for response in call:
                if response.compact_revision:
                    raise Compacted(f"the history before revision {response.compact_revision} is gone")
                if response.canceled:
                    raise EtcdError(f"etcd ended the watch: {response.cancel_reason or 'no reason given'}")
                yield response
            raise EtcdError("etcd ended the watch")
        except grpc.RpcError as error:
            raise _error(error) from error
        except asyncio.InvalidStateError as error:
            raise EtcdError("the watch could not be opened") from error
        finally:
            pinging.cancel()
            call.cancel()

    async def status(self, within: float) -> pb.StatusResponse:
        """This member, as it sees itself; answered without a leader, too."""
        answer: pb.StatusResponse = await self._call(self._maintenance.Status, pb.StatusRequest(), within)
        return answer

    async def alarms(self) -> Sequence[pb.AlarmMember]:
        """Alarms of all members."""
        answer = await self._call(self._maintenance.Alarm, pb.AlarmRequest(action=pb.AlarmRequest.GET))
        found: Sequence[pb.AlarmMember] = answer.alarms
        return found

    async def disarm(self, alarm: pb.AlarmMember) -> None:
        """Clear one of them."""
        request = pb.AlarmRequest(
            action=pb.AlarmRequest.DEACTIVATE, memberID=alarm.memberID, alarm=alarm.alarm
        )
        await self._call(self._maintenance.Alarm, request)

    async def defragment(self) -> None:
        """Give free pages of this member's file back; it answers nothing else meanwhile."""
        await self._call(self._maintenance.Defragment, pb.DefragmentRequest(), 120.0)

    async def move_leader(self, target: int) -> None:
        """Have another member lead etcd; only its leader does it."""
        await self._call(self._maintenance.MoveLeader, pb.MoveLeaderRequest(targetID=target))

    async def members(self) -> Sequence[pb.Member]:
        """All members."""
        answer = await self._call(self._cluster.MemberList, pb.MemberListRequest(linearizable=True))
        found: Sequence[pb.Member] = answer.members
        return found

    async def add_learner(self, url: str) -> pb.MemberAddResponse:
        """A new member that has no vote."""
        request = pb.MemberAddRequest(peerURLs=[url], isLearner=True)
        answer: pb.MemberAddResponse = await self._call(self._cluster.MemberAdd, request)
        return answer

    async def rename(self, member: int, url: str) -> None:
        """Change where other members reach one."""
        await self._call(self._cluster.MemberUpdate, pb.MemberUpdateRequest(ID=member, peerURLs=[url]))

    async def promote(self, member: int) -> None:
        """Give a learner that has caught up its vote."""
        await self._call(self._cluster.MemberPromote, pb.MemberPromoteRequest(ID=member))

    async def remove(self, member: int) -> None:
        """Remove a member."""
        await self._call(self._cluster.MemberRemove, pb.MemberRemoveRequest(ID=member))


async def _ping(call: Any, ping: asyncio.Event) -> None:
    while True:
        await ping.wait()
        ping.clear()
        await call.write(pb.WatchRequest(progress_request=pb.WatchProgressRequest()))
