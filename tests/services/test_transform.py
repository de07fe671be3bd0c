"""Transforms over gRPC: those of the command, and one of a test's own."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from etl_operator.router.pb import common_pb2, transform_pb2
from tests.processes import until
from tests.services.batches import process, record
from tests.services.processes import service

SUCCESS, FILTERED, ERROR, SPLIT = 1, 2, 3, 4
OWN = (sys.executable, "-m", "tests.services.own_transform")


def outcome(result: transform_pb2.TransformResult) -> tuple[int, list[Any]]:
    return int(result.status), [json.loads(one.payload) for one in result.output_records]


async def test_filter_lets_pass_what_is_true_and_names_what_has_no_value(tmp_path: Path) -> None:
    where = 'payload.active && record.record_type == "event"'
    async with service(tmp_path, "transform", "filter", f"--where={where}") as running:
        inputs = [
            record(1, {"active": True}),
            record(2, {"active": False}),
            record(3, {"active": True}, record_type="other"),
            record(4, {}),
            record(5, b"\xff"),
            record(6, {"active": "yes"}),
            record(7, [1]),
        ]
        answer = await running.transform.ProcessBatch(process(inputs))
        assert answer.batch_id == "b"
        assert [one.original_id for one in answer.results] == [one.id for one in inputs]
        assert [one.status for one in answer.results] == [SUCCESS, FILTERED, FILTERED, *[ERROR] * 4]
        assert list(answer.results[0].output_records) == [inputs[0]], "unchanged"
        errors = [one.error_message for one in answer.results[3:]]
        assert 'Key not found in map : "active"' in errors[0]
        assert "the payload is not JSON" in errors[1]
        assert all(errors)
        values = running.values()
        assert values["etl_service_records_total", "success"] == 1
        assert values["etl_service_records_total", "filtered"] == 2
        assert values["etl_service_records_total", "error"] == 4
        assert values["etl_service_batch_seconds_count",] == 1
        assert await running.terminate() == 0
    assert "4 of 7 records failed; first error:" in running.logs()


async def test_an_expression_without_payload_does_not_need_json(tmp_path: Path) -> None:
    async with service(
        tmp_path, "transform", "filter", "--where=size(record.payload) > 2 && record.metadata['a'] == 'b'"
    ) as running:
        inputs = [record(1, b"\xff\xff\xff", metadata={"a": "b"}), record(2, b"x", metadata={"a": "b"})]
        answer = await running.transform.ProcessBatch(process(inputs))
        assert [one.status for one in answer.results] == [SUCCESS, FILTERED]


async def test_map_sets_fields_from_the_record_as_it_came(tmp_path: Path) -> None:
    assignments = (
        "--set=payload.region=payload.country in ['DE', 'FR'] ? 'EU' : 'other'",
        "--set=payload.country=payload.country.lowerAscii()",
        "--set=payload.geo.source=record.id.source_id",
        "--set=metadata.etl.example/seen=string(payload.amount > 10)",
        "--set=record_type='enriched'",
        "--set=key=payload.user",
    )
    async with service(tmp_path, "transform", "map", *assignments) as running:
        inputs = [
            record(1, {"country": "DE", "amount": 12.5, "user": "u"}),
            record(2, {"country": "US", "amount": 1, "user": "v", "geo": {"kept": True}}),
            record(3, {"country": "US", "amount": 1, "user": "v", "geo": 1}),
            record(4, {"country": "US", "amount": 1, "user": 5}),
        ]
        answer = await running.transform.ProcessBatch(process(inputs))
        first, second = (one.output_records[0] for one in answer.results[:2])
        assert json.loads(first.payload) == {
            "country": "de",
            "region": "EU",
            "amount": 12.5,
            "user": "u",
            "geo": {"source": "ns/events"},
        }
        assert (first.record_type, first.key, dict(first.metadata)) == (
            "enriched",
            b"u",
            {"etl.example/seen": "true"},
        )
        assert json.loads(second.payload)["geo"] == {"kept": True, "source": "ns/events"}
        assert first.id == inputs[0].id
        assert [one.status for one in answer.results[2:]] == [ERROR, ERROR]
        assert "cannot set payload.geo.source" in answer.results[2].error_message
        assert "key must be bytes or a string, not int" in answer.results[3].error_message


async def test_map_replaces_a_whole_payload(tmp_path: Path) -> None:
    async with service(
        tmp_path, "transform", "map", "--set=payload={'n': [payload.n, 2u, null], 't': record.event_time}"
    ) as running:
        answer = await running.transform.ProcessBatch(process([record(1, {"n": 1})]))
        assert outcome(answer.results[0]) == (SUCCESS, [{"n": [1, 2, None], "t": "1970-01-01T00:00:00Z"}])


async def test_one_s_own_transform_splits_fails_and_waits(tmp_path: Path) -> None:
    async with service(tmp_path, program=OWN) as running:
        answer = await running.transform.ProcessBatch(
            process([record(n, what) for n, what in enumerate(("two", "same", "none", "boom", "text"), 1)])
        )
        statuses = [outcome(one) for one in answer.results]
        assert statuses == [
            (SPLIT, ["two", "two again"]),
            (SPLIT, ["same", "same"]),
            (FILTERED, []),
            (ERROR, []),
            (ERROR, []),
        ]
        keys = [
            [(one.id.sequence_number, one.id.idempotency_key) for one in result.output_records]
            for result in answer.results[:2]
        ]
        assert keys == [[(1, b"#0"), (1, b"#1")], [(2, b"#0"), (2, b"#1")]]
        assert answer.results[3].error_message == "ZeroDivisionError: division by zero"
        assert "it must return a Record" in answer.results[4].error_message

        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running.transform.ProcessBatch(process([record(1, "outage")]))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert caught.value.details() == "the lookup does not answer"

        capabilities = await running.transform.GetCapabilities(common_pb2.Empty())
        assert (capabilities.max_batch_size, capabilities.max_concurrent_batches) == (500, 1)
        assert capabilities.supports_streaming
        assert list(capabilities.supported_record_types) == ["event"]


async def test_a_stream_is_answered_record_by_record(tmp_path: Path) -> None:
    async def asking() -> AsyncIterator[transform_pb2.ProcessStreamRequest]:
        request = transform_pb2.ProcessStreamRequest
        yield request(init=transform_pb2.StreamInit(stream_id="x"))
        for number, what in enumerate(("two", "none", "boom"), 1):
            yield request(record=record(number, what))
        yield request(flush=transform_pb2.FlushCommand(stream_id="x"))

    async with service(tmp_path, program=OWN) as running:
        answers = [one async for one in running.transform.ProcessStream(asking())]
        kinds = [one.WhichOneof("msg") for one in answers]
        assert kinds == ["ready", "result", "result", "result", "completed"]
        assert [one.result.status for one in answers[1:4]] == [SPLIT, FILTERED, ERROR]
        assert answers[4].completed.records_processed == 3


async def test_a_blocking_transform_leaves_probes_alone_and_sigterm_waits_for_it(tmp_path: Path) -> None:
    async with service(tmp_path, program=OWN) as running:
        gate = tmp_path / "gate"
        calls = [
            asyncio.ensure_future(running.transform.ProcessBatch(process([record(n, f"wait {gate}")])))
            for n in (1, 2)
        ]
        await until(lambda: running.values()["etl_service_in_flight_records",] == 2, running.logs)
        assert running.get("/healthz")[0] == 200
        check = health_pb2_grpc.HealthStub(running.channel).Check
        assert (await check(health_pb2.HealthCheckRequest())).status == 1
        ending = asyncio.ensure_future(running.terminate())
        await until(lambda: running.get("/readyz")[0] == 503, running.logs)
        assert not any(call.done() for call in calls)
        gate.touch()
        answers = await asyncio.gather(*calls)
        assert [one.results[0].status for one in answers] == [SUCCESS, SUCCESS]
        assert await ending == 0
