"""What records cost Raft: ``python -m benchmarks.router``.

Three nodes on this machine, one of them under as much load as it takes, once with records in the control
process and once in a worker. The lag of the control process' event loop is measured from outside, as the time
that ``/health`` takes: it contains the lag of whoever asks, so it is an upper bound. Elections are counted by
the term.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import grpc.aio

from etl_operator.router.pb import sink_pb2, source_pb2
from tests.node.cluster import GRPC, RouterProcess, running
from tests.node.data.made import batch, line
from tests.node.data.services import Served
from tests.node.data.test_node import know, run

SECONDS = 20.0
EVERY = 0.02
BATCH = 1000
OUTSTANDING = 8
_LARGE = [("grpc.max_receive_message_length", -1), ("grpc.enable_http_proxy", 0)]


class Taker(Served):
    """A sink that reads nothing and says that everything is written."""

    def register(self, server: grpc.aio.Server) -> None:
        """See `Served`."""
        done = sink_pb2.WriteBatchResponse(status=sink_pb2.WRITE_STATUS_SUCCESS).SerializeToString()

        async def write(request: bytes, context: Any) -> bytes:
            return done

        handler = grpc.unary_unary_rpc_method_handler(write)
        server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler("etl.sink.SinkService", {"WriteBatch": handler})]
        )


async def load(address: str) -> None:
    """A sink and a source, which has `OUTSTANDING` batches unanswered all the time.

    Says the port of the sink, then waits for a line, then says the number of records after each answer.
    """
    sink = Taker("out")
    await sink.start()
    _say(sink.port)
    await asyncio.to_thread(sys.stdin.readline)
    # Without positions: the same records can be sent again and again.
    message = source_pb2.PushRequest(batch=batch([0] * BATCH)).SerializeToString()
    async with grpc.aio.insecure_channel(address, options=_LARGE) as channel:
        stub: Any = channel.stream_stream(
            "/etl.source.SourceRouter/PushRecords",
            request_serializer=None,
            response_deserializer=source_pb2.PushResponse.FromString,
        )
        call = stub()
        for _ in range(OUTSTANDING):
            await call.write(message)
        answered = 0
        async for answer in call:
            if answer.HasField("ack"):
                answered += 1
                _say(answered * BATCH)
                await call.write(message)


def _say(value: object) -> None:
    sys.stdout.write(f"{value}\n")
    sys.stdout.flush()


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _lags(node: RouterProcess) -> list[float]:
    lags = []
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        started = time.perf_counter()
        await node.get("/health")
        lags.append(time.perf_counter() - started)
        await asyncio.sleep(EVERY)
    return sorted(lags)


async def _measured(node: RouterProcess, what: str) -> None:
    assert node.process is not None
    pids = [node.process.pid, *node.workers()]
    before, used = await node.status(), [_cpu(pid) for pid in pids]
    lags = await _lags(node)
    after = await node.status()
    assert before is not None
    assert after is not None
    shares = [(_cpu(pid) - was) / SECONDS for pid, was in zip(pids, used, strict=True)]
    quantiles = {name: lags[int(len(lags) * share)] * 1000 for name, share in (("p50", 0.5), ("p99", 0.99))}
    _say(
        f"{what}: /health p50 {quantiles['p50']:.1f} ms, p99 {quantiles['p99']:.1f} ms, "
        f"most {lags[-1] * 1000:.1f} ms; {after.term - before.term} elections; "
        f"CPU of the control process {shares[0]:.2f}, of workers {', '.join(f'{s:.2f}' for s in shares[1:])}"
    )


async def measure(workers: int) -> None:
    """Idle and loaded, with so many workers."""
    with tempfile.TemporaryDirectory() as directory:
        async with running(Path(directory), 3, flags=[f"--data-workers={workers}"]) as cluster:
            node = await cluster.leader()
            command = [sys.executable, "-m", "benchmarks.router", f"{node.ip}:{GRPC}"]
            loading = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
            )
            assert loading.stdin is not None
            assert loading.stdout is not None
            sink = Taker("out")
            sink.port = int(await loading.stdout.readline())
            await know(node, sink)
            await run(node, line())
            await _measured(node, f"{workers} workers, idle")
            loading.stdin.write(b"\n")
            await loading.stdout.readline()
            await _measured(node, f"{workers} workers, loaded")
            loading.kill()
            output, _ = await loading.communicate()
            _say(f"  {output.split()[-1].decode()} records")


async def main() -> None:
    """With records in the control process, and in a worker."""
    # Whoever measures must not wait for what is measured.
    with contextlib.suppress(PermissionError):
        os.nice(-10)
    for workers in (0, 1):
        await measure(workers)


if __name__ == "__main__":
    asyncio.run(load(sys.argv[1]) if len(sys.argv) > 1 else main())
