"""The SQL sink, on SQLite and on a real PostgreSQL: a batch that comes again changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
import sqlalchemy as sql
from hypothesis import given
from hypothesis import strategies as st

from etl_operator.router.pb import common_pb2, sink_pb2
from etl_operator.services.sink_sql import SqlSink, key_of, values_of
from tests.processes import until
from tests.services.batches import record, write
from tests.services.postgres import Postgres, postgres, programs
from tests.services.processes import service, started

SUCCESS = sink_pb2.WRITE_STATUS_SUCCESS
PARTIAL = sink_pb2.WRITE_STATUS_PARTIAL


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    if programs() is None:
        pytest.skip("there is no PostgreSQL for this system")
    with postgres() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/records.db"
    running: Postgres = request.getfixturevalue("server")
    with connected(running.url) as connection:
        connection.execute(sql.text("DROP TABLE IF EXISTS records"))
    return running.url


@contextlib.contextmanager
def connected(url: str) -> Iterator[sql.Connection]:
    engine = sql.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def rows(url: str) -> list[dict[str, Any]]:
    """The table, by sequence number; JSON decoded."""
    with connected(url) as connection:
        found = connection.execute(sql.text("SELECT * FROM records ORDER BY sequence_number, record_key"))
        made = [dict(row._mapping) for row in found]
    for row in made:
        for name in ("payload", "metadata"):
            if isinstance(row[name], str) and url.startswith("sqlite"):
                row[name] = json.loads(row[name])
    return made


def versions(url: str) -> list[Any]:
    """What changes when a row is written at all, equal content or not."""
    if url.startswith("sqlite"):
        # The change counter in the header of the file.
        return [Path(url.removeprefix("sqlite:///")).read_bytes()[24:28]]
    with connected(url) as connection:
        text = "SELECT xmin::text, ctid::text FROM records ORDER BY sequence_number"
        return list(connection.execute(sql.text(text)))


async def test_rows_have_all_of_a_record_and_a_repeated_batch_changes_nothing(
    tmp_path: Path, url: str
) -> None:
    full = record(7, {"a": [1, 2.5, None, "ä"]}, key=b"k", metadata={"m": "n"})
    full.id.partition = 2
    full.id.idempotency_key = b"idem"
    full.event_time.FromJsonString("2026-01-31T10:00:00.123456Z")
    records = [full, record(8, b"\xff\x00"), record(9, b"null"), record(10, b"")]
    async with service(tmp_path, "sink", "sql", f"--url={url}") as running:
        answer = await running.sink.WriteBatch(write(records))
        assert answer.status == SUCCESS, answer
        assert [(one.record_id, one.success) for one in answer.results] == [(one.id, True) for one in records]
        first = rows(url)
        expected = {
            "source_id": "ns/events",
            "record_key": "k:idem",
            "partition": 2,
            "sequence_number": 7,
            "record_type": "event",
            "key": b"k",
            "payload": {"a": [1, 2.5, None, "ä"]},
            "payload_bytes": None,
            "metadata": {"m": "n"},
        }
        time = first[0].pop("event_time")
        assert first[0] == expected
        assert str(time).startswith("2026-01-31 10:00:00.123456")
        assert [row["record_key"] for row in first[1:]] == ["s:0-8", "s:0-9", "s:0-10"]
        assert [(row["payload"], row["payload_bytes"]) for row in first[1:]] == [
            (None, b"\xff\x00"),
            (None, None),
            (None, b""),
        ]
        before = versions(url)
        assert (await running.sink.WriteBatch(write(records))).status == SUCCESS
        assert versions(url) == before, "not a row was written"

        # The same key with other content replaces it, within one batch too.
        changed = [record(8, {"n": 1}), record(8, {"n": 2})]
        assert (await running.sink.WriteBatch(write(changed))).status == SUCCESS
        after = rows(url)
        assert len(after) == len(first)
        assert (after[1]["payload"], after[1]["payload_bytes"]) == ({"n": 2}, None)
        assert await running.terminate() == 0


async def test_records_that_no_database_takes_are_refused_alone(tmp_path: Path, url: str) -> None:
    poison = [
        record(2**63, "too large a number"),
        record(3, "x" * 20),
        record(4, "nul", record_type="a\0b"),
        record(5, {"a": "b\0c"}),
        record(6, b'"' + b"\\ud800" + b'"'),
    ]
    poison[1].id.source_id = "s" * 600
    good = [record(n, n) for n in (1, 7, 8)]
    async with service(tmp_path, "sink", "sql", f"--url={url}") as running:
        answer = await running.sink.WriteBatch(write([good[0], *poison, *good[1:]]))
        assert answer.status == PARTIAL
        refused = [one for one in answer.results if not one.success]
        assert not any(one.retryable for one in refused)
        assert all(one.error for one in refused)
        numbers = [one.record_id.sequence_number for one in refused]
        assert numbers[:2] == [2**63, 3]
        if url.startswith("postgresql"):
            assert numbers[2:4] == [4, 5]
        written = {row["sequence_number"] for row in rows(url)}
        assert written == {one.record_id.sequence_number for one in answer.results if one.success}
        assert {1, 7, 8} <= written


async def test_kill_9_in_the_middle_of_batches(tmp_path: Path, url: str) -> None:
    """Acknowledged is in the database, and what comes again makes no second row."""
    acknowledged: list[int] = []
    sent: set[int] = set()

    async def write_on(running: Any, first: int) -> None:
        number = first
        with contextlib.suppress(grpc.aio.AioRpcError):
            while True:
                numbers = range(number, number + 50)
                sent.update(numbers)
                answer = await running.sink.WriteBatch(write([record(n, n) for n in numbers]))
                assert answer.status == SUCCESS
                acknowledged.extend(numbers)
                number += 50

    for turn in range(2):
        async with service(tmp_path, "sink", "sql", f"--url={url}") as running:
            before = len(acknowledged)
            writers = [
                asyncio.create_task(write_on(running, 1 + 1_000_000 * (4 * turn + lane))) for lane in range(4)
            ]
            await until(lambda before=before: len(acknowledged) > before + 500, running.logs)  # type: ignore[misc]
            running.kill()
            await asyncio.gather(*writers)
    assert set(acknowledged) <= {row["sequence_number"] for row in rows(url)}
    async with service(tmp_path, "sink", "sql", f"--url={url}") as running:
        # As a router would: all that has no answer, and the batches around it.
        again = [record(n, n) for n in sorted(sent)]
        for start in range(0, len(again), 5_000):
            answer = await running.sink.WriteBatch(write(again[start : start + 5_000]))
            assert answer.status == SUCCESS
    assert [row["sequence_number"] for row in rows(url)] == sorted(sent)


async def test_a_database_that_is_gone_is_an_outage(tmp_path: Path, server: Postgres) -> None:
    with connected(server.url) as connection:
        connection.execute(sql.text("DROP TABLE IF EXISTS records"))
    async with service(tmp_path, "sink", "sql", f"--url={server.url}") as running:
        assert (await running.sink.WriteBatch(write([record(1, 1)]))).status == SUCCESS
        server.stop()
        try:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await running.sink.WriteBatch(write([record(2, 2)]))
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert "cannot write to postgresql+psycopg://tests@" in str(caught.value.details())
            assert running.get("/healthz")[0] == 200
        finally:
            server.start()
        assert (await running.sink.WriteBatch(write([record(2, 2)]))).status == SUCCESS
        # So is a table that somebody took away: no record is to blame.
        with connected(server.url) as connection:
            connection.execute(sql.text("ALTER TABLE records RENAME TO taken"))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running.sink.WriteBatch(write([record(3, 3)]))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        with connected(server.url) as connection:
            connection.execute(sql.text("ALTER TABLE taken RENAME TO records"))
        assert (await running.sink.WriteBatch(write([record(3, 3)]))).status == SUCCESS
    assert [row["sequence_number"] for row in rows(server.url)] == [1, 2, 3]


async def test_a_table_of_another_shape_is_refused(tmp_path: Path, url: str) -> None:
    with connected(url) as connection:
        connection.execute(sql.text("CREATE TABLE records (id INTEGER PRIMARY KEY)"))
    async with started(tmp_path, "sink", "sql", f"--url={url}") as running:
        assert await running.exit_code() == 1
    assert "table records" in running.logs()
    assert "cannot be used by this sink" in running.logs()
    async with service(tmp_path, "sink", "sql", f"--url={url}", "--table=others") as running:
        assert (await running.sink.WriteBatch(write([record(1, 1)]))).status == SUCCESS
    with connected(url) as connection:
        connection.execute(sql.text("DROP TABLE others"))


IDS = st.builds(
    common_pb2.RecordId,
    source_id=st.just("s"),
    partition=st.integers(0, 3),
    sequence_number=st.integers(1, 3),
    idempotency_key=st.one_of(
        st.just(b""), st.binary(max_size=3), st.just(b"#0"), st.binary(min_size=600, max_size=600)
    ),
)


@given(one=IDS, other=IDS)
def test_keys_are_equal_only_where_they_should_be(
    one: common_pb2.RecordId, other: common_pb2.RecordId
) -> None:
    keys = [key_of(common_pb2.Record(id=record_id)) for record_id in (one, other)]
    own = [bool(i.idempotency_key) and not i.idempotency_key.startswith(b"#") for i in (one, other)]
    same = one.idempotency_key == other.idempotency_key if all(own) else one == other
    assert (keys[0] == keys[1]) == same
    assert all(0 < len(key) <= 512 and "\0" not in key for key in keys)


def test_a_record_without_identity_has_a_new_key_each_time() -> None:
    assert key_of(common_pb2.Record()) != key_of(common_pb2.Record())


@given(payload=st.binary(max_size=40), seconds=st.integers(-(2**40), 2**40))
def test_every_record_has_a_row_or_a_reason(payload: bytes, seconds: int) -> None:
    made = record(1, payload)
    made.event_time.seconds = seconds
    try:
        row = values_of(made)
    except (ValueError, OverflowError):
        assert not -62_135_596_800 <= seconds <= 253_402_300_799
        return
    assert row["payload_bytes"] in (None, payload)
    assert row["event_time"] == datetime.fromtimestamp(seconds, UTC)


def test_what_json_cannot_say_again_is_refused_and_not_tried_for_ever(tmp_path: Path) -> None:
    sink = SqlSink(f"sqlite:///{tmp_path}/x.db")
    asyncio.run(sink.open())
    deep = b"[" * 5_000 + b"]" * 5_000
    large = b"1" * 5_000
    refused = list(sink.write([record(1, 1), record(2, deep), record(3, large), record(4, 4)]))
    asyncio.run(sink.close())
    written = {row["sequence_number"] for row in rows(f"sqlite:///{tmp_path}/x.db")}
    assert {1, 4} <= written
    assert written | {one.index + 1 for one in refused} == {1, 2, 3, 4}
