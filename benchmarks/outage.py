"""What a dead sink costs: ``python -m benchmarks.outage``.

Sources push as fast as a node takes their records. The sink is not there for ten minutes; then it is. The
figure is the resident memory of all processes of the node together: the control process and its worker. Half
of the streams send batches that the node forwards as bytes, half of them batches that it reads into objects.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import grpc.aio

from benchmarks.processes import ROOT
from etl_operator.router.pb import common_pb2, router_pb2, sink_pb2, source_pb2
from tests.node.cluster import GRPC, METRICS, RouterProcess, running
from tests.node.data.made import SINK, SOURCE, config, stage
from tests.node.data.processes import know, run
from tests.node.data.services import Served
from tests.processes import until

SECONDS = 600.0
MOST_MIB = 200.0
SOURCES, PIPELINES = 4, 2
"""Each pipeline has two of the sources: no limit of a source or pipeline is reached before the node's."""
STREAMS = 16
BATCH, PAYLOAD = 500, 200
OUTPUT = ROOT / "docs" / "benchmarks" / "outage.md"
_LARGE = [("grpc.max_receive_message_length", -1), ("grpc.enable_http_proxy", 0)]

Id = tuple[str, int, int]


class Keeper(Served):
    """A sink that remembers which records it has."""

    def __init__(self) -> None:
        super().__init__("out")
        self.ids: set[Id] = set()
        self.twice = 0

    def register(self, server: grpc.aio.Server) -> None:
        """See `Served`."""
        done = sink_pb2.WriteBatchResponse(status=sink_pb2.WRITE_STATUS_SUCCESS)

        async def write(request: sink_pb2.WriteBatchRequest, context: Any) -> sink_pb2.WriteBatchResponse:
            for record in request.batch.records:
                one = (record.id.source_id, record.id.partition, record.id.sequence_number)
                self.twice += one in self.ids
                self.ids.add(one)
            return done

        handler = grpc.unary_unary_rpc_method_handler(
            write,
            request_deserializer=sink_pb2.WriteBatchRequest.FromString,
            response_serializer=sink_pb2.WriteBatchResponse.SerializeToString,
        )
        server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler("etl.sink.SinkService", {"WriteBatch": handler})]
        )


class Stream:
    """A source's stream: pushes what the node takes, and never sends anything twice."""

    def __init__(self, number: int) -> None:
        self.source = f"src-{number % SOURCES}"
        self.partition = 2 * number
        self.sent: set[Id] = set()
        self.accepted: set[Id] = set()
        self.ended = ""
        # Two partitions in a batch are read into objects.
        self._partitions = 2 if number % 2 else 1
        self._next = 1_000_001
        self._stopped = False

    def _batch(self) -> common_pb2.RecordBatch:
        records = []
        for number in range(BATCH):
            record = common_pb2.Record(record_type="order", key=b"customer-42", payload=b"x" * PAYLOAD)
            partition = self.partition + number % self._partitions
            sequence = self._next + number // self._partitions
            record.id.source_id, record.id.partition, record.id.sequence_number = (
                self.source,
                partition,
                sequence,
            )
            records.append(record)
            self.sent.add((self.source, partition, sequence))
        self._next += BATCH // self._partitions
        return common_pb2.RecordBatch(batch_id=str(self._next), records=records)

    async def run(self, channel: grpc.aio.Channel) -> None:
        """Push until `stop`, and read all answers."""
        stub: Any = channel.stream_stream(
            "/etl.source.SourceRouter/PushRecords",
            request_serializer=source_pb2.PushRequest.SerializeToString,
            response_deserializer=source_pb2.PushResponse.FromString,
        )
        call = stub()
        reading = asyncio.create_task(self._read(call))
        while not self._stopped and not reading.done():
            await call.write(source_pb2.PushRequest(batch=self._batch()))
        await reading

    async def _read(self, call: Any) -> None:
        while not self._stopped or self.accepted != self.sent:
            answer = await call.read()
            if not isinstance(answer, source_pb2.PushResponse):
                self.ended = f"{await call.code()} {await call.details()}"
                return
            for ack in answer.ack.record_acks:
                assert ack.status == source_pb2.ACK_STATUS_ACCEPTED, ack
                self.accepted.add(
                    (ack.record_id.source_id, ack.record_id.partition, ack.record_id.sequence_number)
                )
        call.cancel()

    def stop(self) -> None:
        """Send nothing more."""
        self._stopped = True


async def load(address: str) -> None:
    """The process of the sources: answers each line with its counts; the line ``stop`` ends the pushing."""
    streams = [Stream(number) for number in range(STREAMS)]
    channels = [
        grpc.aio.insecure_channel(address, options=[*_LARGE, ("grpc.use_local_subchannel_pool", 1)])
        for _ in streams
    ]
    pushing = [asyncio.create_task(one.run(channel)) for one, channel in zip(streams, channels, strict=True)]
    while line := await asyncio.to_thread(sys.stdin.readline):
        if line.strip() == "stop":
            for one in streams:
                one.stop()
            await asyncio.wait(pushing)
        sent, accepted = sum(len(one.sent) for one in streams), sum(len(one.accepted) for one in streams)
        _say(
            json.dumps(
                {"sent": sent, "accepted": accepted, "ended": [one.ended for one in streams if one.ended]}
            )
        )
    for channel in channels:
        await channel.close(None)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class Loading:
    """The process of `load`, asked."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def started(cls, address: str) -> Loading:
        """Start it."""
        return cls(
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "benchmarks.outage", "--load", address),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
        )

    async def ask(self, line: str = "") -> dict[str, Any]:
        """Its counts, after it did what the line says."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line.encode() + b"\n")
        answer: dict[str, Any] = json.loads(await self._process.stdout.readline())
        return answer

    async def end(self) -> None:
        """Kill it."""
        self._process.kill()
        await self._process.wait()


@dataclass
class Result:
    """What was seen."""

    seconds: float = 0.0
    before_mib: float = 0.0
    """Under load, with the sink."""
    most_mib: float = 0.0
    most_control_mib: float = 0.0
    most_worker_mib: float = 0.0
    """The highest of each alone."""
    held: int = 0
    """Records sent and not answered at the end of the outage."""
    accepted_in_outage: int = 0
    dead_letters: float = 0.0
    recovery_seconds: float = 0.0
    """From the return of the sink to the first answer."""
    records: int = 0
    lost: int = 0
    duplicates: int = 0
    restarts: float = 0.0
    streams_ended: int = 0

    @property
    def holds(self) -> bool:
        """All that is promised."""
        return (
            self.most_mib <= MOST_MIB
            and not self.lost
            and not self.restarts
            and not self.dead_letters
            and not self.streams_ended
        )

    def table(self) -> str:
        """As Markdown."""
        rows = [
            ("length of the outage", f"{self.seconds:.0f} s"),
            ("resident memory under load, with the sink", f"{self.before_mib:.0f} MiB"),
            (
                "resident memory without the sink, at most",
                f"{self.most_mib:.0f} MiB (control process {self.most_control_mib:.0f}, "
                f"worker {self.most_worker_mib:.0f}); must be <= {MOST_MIB:.0f}",
            ),
            ("records sent and not answered at the end of the outage", f"{self.held:,}"),
            (
                "records accepted during the outage, after the calls that were in progress",
                f"{self.accepted_in_outage:,}",
            ),
            ("dead letters", f"{self.dead_letters:.0f}"),
            ("from the return of the sink to the first answer", f"{self.recovery_seconds:.1f} s"),
            ("records in all", f"{self.records:,}"),
            ("records lost", f"{self.lost:,}"),
            ("records that the sink got twice", f"{self.duplicates:,}"),
            ("restarts of the worker; streams that ended", f"{self.restarts:.0f}; {self.streams_ended}"),
        ]
        lines = ["| dead sink | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows)]
        return "\n".join([*lines, "", "holds" if self.holds else "fails"]) + "\n"


def _resident(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")) / 1024


def _memory(node: RouterProcess) -> tuple[float, float]:
    """MiB of the control process and of its workers."""
    assert node.process is not None
    return _resident(node.process.pid), sum(_resident(pid) for pid in node.workers())


async def _metric(node: RouterProcess, name: str) -> float:
    _, text = await node.get("/metrics", METRICS)
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(f"{name}{{"))


def pipelines() -> Sequence[router_pb2.PipelineConfig]:
    """They share the sink."""
    per = SOURCES // PIPELINES
    return [
        config(
            f"ns/p-{number}",
            [*(stage(f"src-{number * per + i}", SOURCE) for i in range(per)), stage("out", SINK)],
            [(f"src-{number * per + i}", "out") for i in range(per)],
        )
        for number in range(PIPELINES)
    ]


async def measure(seconds: float, directory: Path) -> Result:
    """Load, an outage of so many seconds, and load again."""
    result, sink = Result(seconds), Keeper()
    await sink.start()
    async with running(directory, 1) as cluster:
        node = await cluster.leader()
        await know(node, sink)
        for one in pipelines():
            await run(node, one)
        loading = await Loading.started(f"{node.ip}:{GRPC}")
        try:
            await _flows(loading, 0)
            await asyncio.sleep(min(seconds / 10, 10.0))
            result.before_mib = sum(_memory(node))
            await sink.stop()
            accepted = await _stands(loading)
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                control, worker = _memory(node)
                result.most_mib = max(result.most_mib, control + worker)
                result.most_control_mib = max(result.most_control_mib, control)
                result.most_worker_mib = max(result.most_worker_mib, worker)
                await asyncio.sleep(0.25)
            counts = await loading.ask()
            result.held = counts["sent"] - counts["accepted"]
            result.accepted_in_outage = counts["accepted"] - accepted
            began = time.monotonic()
            await sink.start()
            await _flows(loading, counts["accepted"])
            result.recovery_seconds = time.monotonic() - began
            # It goes on as before.
            await _flows(loading, counts["sent"] + 10 * STREAMS * BATCH)
            last = await loading.ask("stop")
            result.records, result.streams_ended = last["sent"], len(last["ended"])
            result.lost = last["sent"] - len(sink.ids)
            result.duplicates = sink.twice
            result.restarts = await _metric(node, "etl_router_worker_restarts_total")
            result.dead_letters = await _metric(node, "etl_router_pipeline_dead_letters_total")
            control, worker = _memory(node)
            result.most_mib = max(result.most_mib, control + worker)
        finally:
            await loading.end()
            await sink.stop()
    return result


async def _stands(loading: Loading) -> int:
    """Wait until no more answers come; how many records are accepted."""
    before, now = -1, 0
    while before != now:
        await asyncio.sleep(1.0)
        before, now = now, (await loading.ask())["accepted"]
    return now


async def _flows(loading: Loading, beyond: int) -> None:
    """Wait until more than so many records are accepted."""

    async def flows() -> bool:
        counts = await loading.ask()
        return bool(counts["accepted"] > beyond or counts["ended"])

    await until(flows)


def main() -> int:
    """1 when a promise does not hold."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.outage", description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="length of the outage (600)")
    parser.add_argument("--output", type=Path, help=f"file for the table, such as {OUTPUT.relative_to(ROOT)}")
    parser.add_argument("--load", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.load:
        asyncio.run(load(options.load))
        return 0
    with tempfile.TemporaryDirectory(prefix="bench-outage-") as name:
        result = asyncio.run(measure(options.seconds, Path(name)))
    sys.stdout.write(result.table())
    sys.stderr.write(json.dumps(asdict(result)) + "\n")
    if options.output:
        options.output.write_text(result.table(), encoding="utf-8")
    return 0 if result.holds else 1


if __name__ == "__main__":
    sys.exit(main())
