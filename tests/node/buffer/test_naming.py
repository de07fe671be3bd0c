"""Names of streams, subjects and messages."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl_operator.node.buffer import naming


@given(st.lists(st.text(min_size=1, max_size=300), min_size=2, max_size=2, unique=True))
def test_no_two_pipelines_share_a_stream(ids: list[str]) -> None:
    one, other = map(naming.token, ids)
    assert one != other
    assert re.fullmatch(r"[-A-Za-z0-9_=]{1,161}", one)


def test_a_name_can_be_read() -> None:
    assert naming.stream_of("ns_c", "etl/my-pipeline") == "ns_c_records_etl_my-pipeline"
    assert naming.subject_of("ns_c", "etl/a.b", 3) == "ns_c.records.etl_a=2eb.3"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("nats://a:4222", "nats://a:4222"),
        ("a:4222", "a:4222"),
        ("tls://token@a:4222", "tls://a:4222"),
        ("nats://user:p@ss@a:4222", "nats://a:4222"),
        ("user:password@a:4222", "a:4222"),
    ],
)
def test_a_message_has_no_password(url: str, shown: str) -> None:
    assert naming.without_credentials(url) == shown


positions = st.lists(st.integers(1, 30), min_size=1, max_size=6, unique=True).map(sorted)


@given(positions, positions)
def test_messages_with_other_records_have_other_ids(one: list[int], other: list[int]) -> None:
    same = naming.message_id("1", ("s", 0), one) == naming.message_id("1", ("s", 0), other)
    assert same == (one == other)


def test_an_id_names_the_pipeline_the_source_and_the_partition() -> None:
    every = {
        naming.message_id(era, key, [1, 2]) for era in ("1", "2") for key in (("a", 0), ("a", 1), ("a/1", 0))
    }
    assert len(every) == 6
    assert naming.message_id("1", ("a", 0), [0, 1]) is None
    assert "\n" not in (naming.message_id("1", ("a\n", 0), [1]) or "")
