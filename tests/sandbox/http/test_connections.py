"""What happens on a connection around a request: answers that arrive, bodies that break off, what comes next.

The codes are those of kube-apiserver 1.37.2, save where a comment says otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.sandbox.http.raw import Answer, Connection, Running, Sent, one_server

_MAPS = "/api/v1/namespaces/default/configmaps"
_JSON = ("Content-Type", "application/json")
_LIVE = Sent("GET", "/livez")
_LONG = 2_000_000


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with one_server() as server:
        yield server


@pytest.fixture(autouse=True)
def no_faults(running: Running) -> Iterator[None]:
    yield
    assert not running.faults


def _config_map(name: str) -> bytes:
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}).encode()


def _post(connection: Connection, *headers: str) -> bytes:
    lines = [f"POST {_MAPS} HTTP/1.1", "Host: a", "Content-Type: application/json", *headers]
    return "\r\n".join([*lines, ""]).encode() + connection.bearer() + b"\r\n"


@pytest.mark.parametrize(
    ("code", "head"),
    [
        (431, f"GET /livez?a={'b' * _LONG}"),
        (431, f"GET /livez HTTP/1.1\r\nA: {'b' * _LONG}"),
        (400, f"GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: {_LONG}\r\n\r\n"),
        (400, f"F(O /livez HTTP/1.1\r\nHost: a\r\nContent-Length: {_LONG}\r\n\r\n"),
    ],
    ids=["target", "field", "two hosts", "method"],
)
def test_who_is_still_sending_hears_the_refusal(running: Running, code: int, head: str) -> None:
    with running.connection() as connection:
        connection.send(head.encode())
        connection.heard_something()
        for _ in range(4):
            connection.send(b"b" * 100_000)
        answer = connection.answer()
    assert (answer.code, answer.open) == (code, False)


@pytest.mark.parametrize("length", [9000, 45_000, 900_000])
def test_a_long_query_is_served(running: Running, length: int) -> None:
    with running.connection() as connection:
        answer = connection.ask(Sent("GET", f"{_MAPS}?labelSelector=a%20in%20(b{',b' * (length // 2)})"))
    assert (answer.code, answer.open) == (200, True)


@pytest.mark.parametrize(
    "headers", [[("Authorization", f"Bearer {'a' * 40_000}")], [(f"A-{n}", "b") for n in range(400)]]
)
def test_a_long_head_is_served(running: Running, headers: list[tuple[str, str]]) -> None:
    with running.connection() as connection:
        answer = connection.ask(Sent("GET", "/livez", headers))
    assert answer.code in (200, 401) and answer.open


def test_a_body_that_breaks_off_in_other_bytes_is_refused(running: Running) -> None:
    # A real server says 500 here: it is no fault of its own all the same.
    with running.connection() as connection:
        connection.send(_post(connection, "Expect: 100-continue", "Transfer-Encoding: chunked"))
        connection.heard_something()
        connection.send(b"2\r\n{}\r\nzz\r\n" + b"b" * 100_000)
        answer = connection.answer()
    assert (answer.code, answer.open) == (400, False)
    assert "Invalid character in chunk size" in json.loads(answer.body)["message"]


def test_a_body_is_asked_for_when_the_client_waits_for_that(running: Running) -> None:
    body = _config_map("asked-for")
    with running.connection() as connection:
        connection.send(_post(connection, "Expect: 100-continue", f"Content-Length: {len(body)}"))
        connection.heard_something()
        connection.send(body)
        # The reader passes "100 Continue" over.
        answer = connection.answer()
        assert (answer.code, answer.open) == (201, True)
        assert connection.ask(_LIVE).code == 200


def test_a_body_that_is_not_asked_for_ends_the_connection(running: Running) -> None:
    with running.connection() as connection:
        head = _post(connection, "Expect: 100-continue", "Content-Length: 2")
        connection.send(head.replace(b"/configmaps", b"/nothing"))
        answer = connection.answer()
    assert (answer.code, answer.open) == (404, False)


@pytest.mark.parametrize("request_", [Sent("GET", "/livez"), Sent("POST", _MAPS, [_JSON], _config_map("no"))])
def test_another_expectation_is_refused(running: Running, request_: Sent) -> None:
    with running.connection() as connection:
        answer = connection.ask(Sent(request_.method, request_.target, [("Expect", "a")], request_.body))
    assert answer == Answer(417, b"", open=False)


def test_what_follows_connect_is_no_request(running: Running) -> None:
    # A real server answers by the path, as it does any method.
    with running.connection() as connection:
        answer = connection.ask(Sent("CONNECT", "/api", [], b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"))
    assert (answer.code, answer.open) == (404, False)


@pytest.mark.parametrize("body", [b"", b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"])
def test_an_upgrade_that_is_not_served_changes_nothing(running: Running, body: bytes) -> None:
    headers = [_JSON, ("Connection", "upgrade"), ("Upgrade", "websocket")]
    with running.connection() as connection:
        answer = connection.ask(Sent("POST", _MAPS, headers, body))
        assert (answer.code, answer.open) == (400, True)
        assert connection.ask(_LIVE).code == 200


def test_http_1_0_gets_watches_too(running: Running) -> None:
    with running.connection() as connection:
        line = f"GET {_MAPS}?watch=1&timeoutSeconds=1 HTTP/1.0\r\n"
        connection.send(line.encode() + connection.bearer() + b"\r\n")
        answer = connection.answer()
    assert (answer.code, answer.open) == (200, False)
    events = [json.loads(event) for event in answer.body.splitlines()]
    assert ("ADDED", "x") in [(event["type"], event["object"]["metadata"]["name"]) for event in events]
