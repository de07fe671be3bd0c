"""``etl-operator dlq``: what it reads, and what it says of it. That it replays is seen end to end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from etl_operator.cli.main import main
from etl_operator.router.pb.common_pb2 import Record, RecordId
from etl_operator.services.records import json_text, line_of, record_of


def letter(number: int, *, stage: str = "flow-sink", pipeline: str = "etl/flow", **noted: str) -> Record:
    """A dead letter as a router makes it."""
    noted = {
        "pipeline": pipeline,
        "failed_stage": stage,
        "error_code": "SINK_FAILED",
        "error_message": "no such table",
        "retry_count": "3",
        "last_failure": "2026-11-30T12:00:00.000Z",
    } | noted
    metadata = {f"_dlq_{key}": value for key, value in noted.items()}
    return Record(
        id=RecordId(source_id="in", partition=2, sequence_number=number),
        payload=b'{"price":1}',
        metadata={**metadata, "team": "a"},
    )


def dlq(
    tmp_path: Path, command: str, *options: str, letters: list[Record], pipeline: str = "etl/flow"
) -> Result:
    """Run a command on a file with these letters."""
    path = tmp_path / "dead.jsonl"
    path.write_bytes(b"".join(map(line_of, letters)))
    return CliRunner().invoke(main, ["dlq", command, pipeline, "--file", str(path), *options])


def test_list_shows_each_letter_of_the_pipeline_once(tmp_path: Path) -> None:
    again = letter(7, error_message="again\nand more", last_failure="2026-11-30T12:30:00.000Z")
    letters = [letter(7), letter(9, error_code="NO_ROUTE"), letter(8, pipeline="etl/other"), again]
    done = dlq(tmp_path, "list", letters=letters)
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "FAILED                    STAGE      CODE         ATTEMPTS  RECORD  MESSAGE",
        "2026-11-30T12:00:00.000Z  flow-sink  NO_ROUTE     3         in/2/9  no such table",
        "2026-11-30T12:30:00.000Z  flow-sink  SINK_FAILED  3         in/2/7  again",
    ]
    assert "2 dead letters" in done.stderr


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        ([], [7, 8, 9]),
        (["--code", "NO_ROUTE"], [9]),
        (["--stage", "flow-transform-0"], [8]),
        (["--record", "in/2/7", "--record", "in/2/9"], [7, 9]),
        (["--record", "in/2/7", "--code", "NO_ROUTE"], []),
    ],
)
def test_show_prints_what_was_selected(tmp_path: Path, options: list[str], numbers: list[int]) -> None:
    letters = [letter(7), letter(8, stage="flow-transform-0"), letter(9, error_code="NO_ROUTE")]
    done = dlq(tmp_path, "show", *options, letters=letters)
    shown = json.loads("[" + done.stdout.replace("}\n{", "},{") + "]")
    assert [one["sequence_number"] for one in shown] == numbers
    assert all(one["payload"] == {"price": 1} and one["metadata"]["team"] == "a" for one in shown)


def test_a_name_alone_is_of_the_default_namespace(tmp_path: Path) -> None:
    done = dlq(tmp_path, "list", letters=[letter(1, pipeline="default/flow"), letter(2)], pipeline="flow")
    assert "in/2/1" in done.stdout
    assert "in/2/2" not in done.stdout


def test_records_without_a_position_are_all_there(tmp_path: Path) -> None:
    assert "2 dead letters" in dlq(tmp_path, "list", letters=[letter(0), letter(0)]).stderr


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"source_id": 1}', '{"source_id":"a","partition":-1,"sequence_number":1}']
)
def test_a_line_that_is_no_record_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "dead.jsonl"
    path.write_bytes(line_of(letter(1)) + line.encode() + b"\n")
    done = CliRunner().invoke(main, ["dlq", "list", "etl/flow", "--file", str(path)])
    assert done.exit_code == 1
    assert f"{path}, line 2: not a record that the file sink wrote: " in done.stderr


def test_a_router_that_does_not_answer_is_named(tmp_path: Path) -> None:
    done = dlq(tmp_path, "replay", "--router", "127.0.0.1:1", letters=[letter(1)])
    assert done.exit_code == 1
    assert "router 127.0.0.1:1, stage flow-sink: UNAVAILABLE" in done.stderr
    assert "0 of 1 records were accepted before" in done.stderr


TEXTS = st.text(max_size=8)


@given(
    st.builds(
        Record,
        id=st.builds(
            RecordId,
            source_id=TEXTS,
            partition=st.integers(0, 2**32 - 1),
            sequence_number=st.integers(0, 2**64 - 1),
            idempotency_key=st.binary(max_size=8),
        ),
        record_type=TEXTS,
        key=st.binary(max_size=8),
        payload=st.binary(max_size=8) | st.sampled_from([b'{"a": [1, 2.50]}', b"null", b'"x"', b"1"]),
        metadata=st.dictionaries(TEXTS, TEXTS, max_size=3),
        event_time=st.none()
        | st.builds(Timestamp, seconds=st.integers(0, 2**33), nanos=st.integers(0, 999_999_999)),
    )
)
def test_a_record_is_what_it_was_in_the_file(record: Record) -> None:
    found = record_of(line_of(record))
    # Spaces between the tokens of JSON are not kept.
    text = json_text(record.payload)
    record.payload = record.payload if text is None else text.encode()
    assert found == record
