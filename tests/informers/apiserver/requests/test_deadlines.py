"""The parameter ``timeout``: read as a real server reads it, on every path."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from informers.apiserver.errors import StatusError
from informers.apiserver.requests.deadlines import allowed_time, parse_duration

MAPS = "/api/v1/namespaces/default/configmaps"

# What time.ParseDuration of Go answers.
GOOD = {
    "0": 0,
    "0s": 0,
    "5s": 5 * 10**9,
    "+5s": 5 * 10**9,
    "-1.5s": -15 * 10**8,
    ".5s": 5 * 10**8,
    "5.s": 5 * 10**9,
    "1h15m30.918273645s": 4_530_918_273_645,
    "1us": 1000,
    "1\u00b5s": 1000,
    "1\u03bcs": 1000,
    "0.3333333333333333333h": 1_200_000_000_000,
    "9223372036854775807ns": 2**63 - 1,
    "-9223372036854775808ns": -(2**63),
    "0.9223372036854775807999s": 922_337_203,
}
BAD = {
    "": 'time: invalid duration ""',
    "3": 'time: missing unit in duration "3"',
    "-": 'time: invalid duration "-"',
    "s": 'time: invalid duration "s"',
    ".": 'time: invalid duration "."',
    "-.": 'time: invalid duration "-."',
    ".s": 'time: invalid duration ".s"',
    "1e3s": 'time: unknown unit "e" in duration "1e3s"',
    "5S": 'time: unknown unit "S" in duration "5S"',
    "5s ": 'time: unknown unit "s " in duration "5s "',
    "1d": 'time: unknown unit "d" in duration "1d"',
    "1\u00e4": 'time: unknown unit "\\xc3\\xa4" in duration "1\\xc3\\xa4"',
    'a"b': 'time: invalid duration "a\\"b"',
    "9223372036854775808ns": 'time: invalid duration "9223372036854775808ns"',
    "999999999h": 'time: invalid duration "999999999h"',
    "-9223372036854775809ns": 'time: invalid duration "-9223372036854775809ns"',
    "9" * 5000 + "s": f'time: invalid duration "{"9" * 5000}s"',
}


@pytest.mark.parametrize("text", GOOD)
def test_durations_are_read_as_go_reads_them(text: str) -> None:
    assert parse_duration(text) == GOOD[text]


@pytest.mark.parametrize("text", BAD, ids=lambda text: text[:20])
def test_what_is_no_duration_is_refused_in_go_s_words(text: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse_duration(text)
    assert str(refused.value) == BAD[text]


@given(st.text(alphabet='0123456789.+-nu\u00b5smh "x', max_size=12))
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    try:
        assert -(2**63) <= parse_duration(text) < 2**63
    except ValueError as error:
        assert str(error).startswith("time: ")


@given(st.integers(0, 2**62))
def test_nanoseconds_come_back(nanoseconds: int) -> None:
    assert parse_duration(f"{nanoseconds}ns") == nanoseconds
    assert parse_duration(f"-{nanoseconds}ns") == -nanoseconds


@pytest.mark.parametrize(
    "path",
    ["/", "/version", "/healthz", "/api", "/apis/apps/v1", "/openapi/v3", "/nothing", MAPS, f"{MAPS}/x"],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_every_path_reads_it(method: str, path: str) -> None:
    assert allowed_time(method, path, {"timeout": "1500ms"}) == 1.5
    assert allowed_time(method, path, {"timeout": "0s"}) is None
    assert allowed_time(method, path, {"timeout": "-3s"}) is None
    assert allowed_time(method, path, {"timeout": ""}) is None
    with pytest.raises(StatusError, match="invalid timeout specified in the request URL - time: ") as refused:
        allowed_time(method, path, {"timeout": "soon"})
    assert refused.value.code == 400


@pytest.mark.parametrize(
    ("path", "query"),
    [
        (MAPS, {"watch": "1"}),
        (MAPS, {"watch": ""}),
        ("/api/v1/configmaps", {"watch": "odd"}),
        ("/api/v1/watch/configmaps", {}),
        ("/api/v1/watch/namespaces/default/configmaps/x", {}),
        ("/apis/apps/v1/watch/deployments", {"watch": "false"}),
        ("/api/v1/namespaces/default/pods/x/log", {}),
        ("/api/v1/namespaces/default/pods/x/proxy/a/b/c", {}),
    ],
)
def test_what_runs_for_long_ignores_it(path: str, query: dict[str, str]) -> None:
    for value in ("5s", "1ns", "soon"):
        assert allowed_time("GET", path, {**query, "timeout": value}) is None


def test_the_watch_of_a_named_object_is_a_get() -> None:
    assert allowed_time("GET", f"{MAPS}/x", {"watch": "1", "timeout": "5s"}) == 5.0
