"""The file sink: what is acknowledged is on disk, whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from etl_operator.router.pb import common_pb2, sink_pb2
from etl_operator.services.records import line_of
from etl_operator.services.sink_file import FileSink
from tests.processes import until
from tests.services.batches import record, write
from tests.services.processes import service, started

SUCCESS = sink_pb2.WRITE_STATUS_SUCCESS


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


async def test_records_are_lines_with_all_they_have(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    full = record(7, {"a": 1}, key=b"k", metadata={"m": "n"})
    full.id.partition = 2
    full.id.idempotency_key = b"idem"
    full.event_time.FromJsonString("2026-01-31T10:00:00Z")
    others = [
        record(8, b'{\n "b": [1.0, "\\u00e4"]\n}'),
        record(9, b"\xff", key=b"\xfe", record_type=""),
        record(10, b'"\xff"'),
        record(11, b""),
    ]
    async with service(tmp_path, "sink", "file", str(path)) as running:
        answer = await running.sink.WriteBatch(write([full, *others]))
        assert (answer.batch_id, answer.status) == ("b", SUCCESS)
        assert [(one.record_id, one.success) for one in answer.results] == [
            (one.id, True) for one in (full, *others)
        ]
        written = lines(path)
        assert written[0] == {
            "source_id": "ns/events",
            "partition": 2,
            "sequence_number": 7,
            "idempotency_key": "idem",
            "record_type": "event",
            "key": "k",
            "metadata": {"m": "n"},
            "event_time": "2026-01-31T10:00:00Z",
            "payload": {"a": 1},
        }
        assert written[1]["payload"] == {"b": [1.0, "ä"]}
        assert (written[2]["payload_base64"], written[2]["key_base64"]) == ("/w==", "/g==")
        assert "record_type" not in written[2]
        assert written[3]["payload_base64"] == "Iv8i", "what is no UTF-8 is no JSON"
        assert "payload" not in written[4]

        # The same batch again is not an error.
        assert (await running.sink.WriteBatch(write([full]))).status == SUCCESS
        assert lines(path)[-1] == written[0]
        assert (await running.sink.WriteBatch(write([]))).status == SUCCESS

        capacity = await running.sink.GetCapacity(common_pb2.Empty())
        assert (capacity.available_capacity, capacity.current_queue_depth) == (10_000, 0)
        assert capacity.estimated_latency_ms > 0
        flushed = await running.sink.Flush(sink_pb2.FlushRequest(wait_for_completion=True))
        assert (flushed.success, flushed.flushed_records) == (True, 6)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            request = write([full])
            request.options.guarantee = sink_pb2.DELIVERY_GUARANTEE_EXACTLY_ONCE
            await running.sink.WriteBatch(request)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert await running.terminate() == 0


async def test_a_stream_is_written_up_to_its_commits(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"

    async def writing() -> AsyncIterator[sink_pb2.WriteStreamRequest]:
        request = sink_pb2.WriteStreamRequest
        yield request(init=sink_pb2.StreamWriteInit(stream_id="x"))
        for number in range(1, 6):
            yield request(record=record(number, number))
        yield request(commit=sink_pb2.CommitMarker(stream_id="x", up_to_sequence=3))
        yield request(commit=sink_pb2.CommitMarker(stream_id="x", up_to_sequence=9))

    async with service(tmp_path, "sink", "file", str(path)) as running:
        answers = [one async for one in running.sink.WriteStream(writing())]
    kinds = [one.WhichOneof("msg") for one in answers]
    assert kinds == ["ready", *["result"] * 3, "commit_ack", *["result"] * 2, "commit_ack"]
    assert [one.commit_ack.committed_sequence for one in answers if one.HasField("commit_ack")] == [3, 9]
    assert [line["payload"] for line in lines(path)] == [1, 2, 3, 4, 5]


async def test_kill_9_in_the_middle_of_batches_loses_no_acknowledged_record(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    acknowledged: list[int] = []

    async def write_on(running: Any, first: int) -> None:
        number = first
        with contextlib.suppress(grpc.aio.AioRpcError):
            while True:
                records = [record(n, "x" * 500) for n in range(number, number + 50)]
                answer = await running.sink.WriteBatch(write(records))
                assert answer.status == SUCCESS
                acknowledged.extend(range(number, number + 50))
                number += 50

    for turn in range(3):
        async with service(tmp_path, "sink", "file", str(path)) as running:
            before = len(acknowledged)
            writers = [
                asyncio.create_task(write_on(running, 1 + 1_000_000 * (4 * turn + lane))) for lane in range(4)
            ]
            await until(lambda before=before: len(acknowledged) > before + 1_000, running.logs)  # type: ignore[misc]
            running.kill()
            await asyncio.gather(*writers)
        # As after a crash of the machine in the middle of a write.
        with path.open("ab") as file:
            file.write(line_of(record(5, "torn"))[: 40 * turn + 3])
    async with service(tmp_path, "sink", "file", str(path)) as running:
        assert (await running.sink.WriteBatch(write([record(77, "last")]))).status == SUCCESS
    written = lines(path)
    assert set(acknowledged) <= {line["sequence_number"] for line in written}
    assert written[-1]["payload"] == "last"
    assert running.logs().count("removed an incomplete line") == 1


async def test_two_sinks_do_not_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    async with service(tmp_path, "sink", "file", str(path)):
        async with started(tmp_path, "sink", "file", str(path)) as second:
            assert await second.exit_code() == 1
        assert f"another process writes to {path}" in second.logs()


async def test_a_file_of_somebody_else_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("one\ntwo")
    async with started(tmp_path, "sink", "file", str(path)) as running:
        assert await running.exit_code() == 1
    assert "its last line is not from this sink" in running.logs()
    assert path.read_text() == "one\ntwo"


async def test_a_full_disk_is_an_outage_and_leaves_no_half_batch(tmp_path: Path) -> None:
    """A limit of the process for the size of files stands for the disk."""
    path = tmp_path / "records.jsonl"
    limited = (
        "import resource, signal, runpy, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY));"
        "sys.argv[0] = 'etl-service'; runpy.run_module('etl_operator.services', run_name='__main__')"
    )
    program = (sys.executable, "-c", limited)
    async with service(tmp_path, "sink", "file", str(path), program=program) as running:
        small = write([record(1, "x")])
        assert (await running.sink.WriteBatch(small)).status == SUCCESS
        for _ in range(2):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await running.sink.WriteBatch(write([record(n, "x" * 1_000) for n in range(2, 40)]))
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert "File too large" in str(caught.value.details())
            assert len(lines(path)) == 1
        assert running.process is not None
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, unlimited)
        answer = await running.sink.WriteBatch(write([record(n, "x" * 1_000) for n in range(2, 40)]))
        assert answer.status == SUCCESS
    assert [line["sequence_number"] for line in lines(path)] == list(range(1, 40))


def test_a_batch_is_flushed_before_it_is_answered(tmp_path: Path) -> None:
    """Seen from the system calls: the write returns only after the flush."""
    calls: list[str] = []
    sink = FileSink(tmp_path / "x")
    real_write, real_fsync = os.write, os.fsync

    def writing(file: int, data: bytes) -> int:
        calls.append("write")
        # Short writes are allowed.
        return real_write(file, bytes(data)[:100])

    def flushing(file: int) -> None:
        calls.append("fsync")
        real_fsync(file)

    asyncio.run(sink.open())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "write", writing)
        patch.setattr(os, "fsync", flushing)
        sink.write([record(n, "x") for n in range(5)])
    asyncio.run(sink.close())
    assert calls[-1] == "fsync"
    assert calls.count("fsync") == 1
    assert calls.count("write") > 1
    assert len(lines(tmp_path / "x")) == 5
