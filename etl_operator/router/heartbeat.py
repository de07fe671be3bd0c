"""One stream of heartbeats to one node, for any number of services."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import grpc

from etl_operator.router.channels import Connection, Fence
from etl_operator.router.errors import RouterError, TimedOut, Unreachable, from_status
from etl_operator.router.methods import HEARTBEAT
from etl_operator.router.pb import registry_pb2
from etl_operator.router.registration import Beat


class HeartbeatStream:
    """A bidirectional Heartbeat call.

    Answers carry no service id: they come in the order of the questions, one each. A stream whose count is
    off is therefore of no use any more, and so is one that has failed: close it and open another.

    :param patience: seconds without any answer after which the stream counts as dead.
    :param release: called once when the stream is closed.
    :param fence: asked before every heartbeat.
    """

    def __init__(
        self,
        connection: Connection,
        path: str,
        address: str,
        patience: float,
        release: Callable[[], None],
        fence: Fence,
    ) -> None:
        self._connection = connection
        self._path = path
        self._address = address
        self._patience = patience
        self._release = release
        self._fence = fence
        self._call: Any = None
        self._closed = False
        self.deadline = 0.0
        """Seconds within which the node wants the next heartbeat; 0 while it has not said."""
        self.on_end: Callable[[], None] = _nothing
        """Called when the call ends, whoever ended it."""

    async def beat(self, beats: Sequence[Beat]) -> list[bool]:
        """Send heartbeats and collect the answers, in order.

        :returns: for each, whether the node knows the registration.
        :raises RouterError: when the stream is broken or goes silent; it must be closed then.
        :raises Exception: what the fence raises, when it is closed already.
        """
        if self._call is None:
            await self._connection.settle(self._patience)
            if self._connection.closed:
                raise Unreachable("the client was closed", **self._where())
        self._fence()
        if self._call is None:
            self._call = self._open()
        writer = asyncio.get_running_loop().create_task(self._write(beats))
        try:
            return await self._answers(len(beats))
        except TimeoutError:
            raise TimedOut("heartbeats are not answered", **self._where()) from None
        except grpc.aio.AioRpcError as error:
            raise self._error(error.code(), error.details()) from error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # gRPC reports a call that was cancelled under its reader as if the reader had been.
            raise Unreachable("the client was closed", **self._where()) from None
        finally:
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)

    def close(self) -> None:
        """End the call. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self.on_end = _nothing
        if self._call is not None:
            self._call.cancel()
        self._release()

    def _open(self) -> Any:
        call: Any = self._connection.channel.stream_stream(
            self._path,
            request_serializer=registry_pb2.HeartbeatRequest.SerializeToString,
            response_deserializer=registry_pb2.HeartbeatResponse.FromString,
        )()  # type: ignore[call-arg]
        call.add_done_callback(lambda _: self.on_end())
        return call

    async def _write(self, beats: Sequence[Beat]) -> None:
        for service, registration, health in beats:
            try:
                self._fence()
            except Exception:
                # The answers that are waited for will not come.
                self._call.cancel()
                raise
            request = registry_pb2.HeartbeatRequest(service_id=service, registration_id=registration)
            if health is not None:
                request.health.CopyFrom(health.wire())
            await self._call.write(request)

    async def _answers(self, count: int) -> list[bool]:
        # Writing and reading at once: a node may stop reading until its answers are taken.
        loop = asyncio.get_running_loop()
        heard = loop.time()
        known: list[bool] = []
        async with asyncio.timeout(self._patience) as silence:
            while len(known) < count:
                answer = await self._call.read()
                if answer is grpc.aio.EOF:  # type: ignore[attr-defined]
                    raise self._error(await self._call.code(), await self._call.details())
                known.append(answer.acknowledged)
                if answer.HasField("next_heartbeat_deadline"):
                    limit = answer.next_heartbeat_deadline
                    self.deadline = limit.seconds + limit.nanos / 1e9
                # Moving the timer for every single answer would cost more than the answer.
                if loop.time() - heard > self._patience / 8:
                    heard = loop.time()
                    silence.reschedule(heard + self._patience)
        return known

    def _error(self, code: grpc.StatusCode, details: str | None) -> RouterError:
        if code is grpc.StatusCode.OK:
            return Unreachable("the node closed the heartbeat stream", **self._where())
        return from_status(
            code, details, address=self._address, service=HEARTBEAT.service, method=HEARTBEAT.name
        )

    def _where(self) -> dict[str, str]:
        return {"address": self._address, "method": HEARTBEAT.name}


def _nothing() -> None:
    """Nobody listens."""
