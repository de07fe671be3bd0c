"""Whatever requests arrive, each is answered completely, and never with a fault of the server's own.

The requests are made of what clients send (methods, paths, parameters, headers, bodies in JSON, YAML and
protobuf), put together at random and damaged, and go as bytes over a connection. Every example has a server
of its own: what one request leaves behind is found by the next, and an example that fails fails again.

By default the same examples run every time. ``FUZZ_EXAMPLES=1000`` runs so many others.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.sandbox.http.random_requests import requests
from tests.sandbox.http.raw import Connection, Running, Sent, Servers, servers

_EXAMPLES = os.environ.get("FUZZ_EXAMPLES", "")
_LIVE = Sent("GET", "/livez")
_AS_TABLE = ("Accept", "application/json;as=Table;g=meta.k8s.io;v=v1")


@pytest.fixture(scope="module")
def fresh_servers() -> Iterator[Servers]:
    with servers() as found:
        yield found


def _check(running: Running, request: Sent) -> None:
    with running.connection() as connection:
        _answered(connection, request)


def _answered(connection: Connection, request: Sent) -> None:
    answer = connection.ask(request)
    assert not answer.is_fault, (answer.code, answer.body[:500], request)
    if answer.open:
        assert connection.ask(_LIVE).code == 200, request


@settings(
    max_examples=int(_EXAMPLES or 60),
    derandomize=not _EXAMPLES,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@example(sent=[Sent("FOO", "/api", [], b"x" * 500_000)])
@example(sent=[Sent("DELETE", "/api/v1/namespaces/default/limitranges/x", [_AS_TABLE])])
@given(sent=st.lists(requests(), min_size=1, max_size=10))
def test_any_requests_are_answered(fresh_servers: Servers, sent: list[Sent]) -> None:
    with fresh_servers.fresh() as running:
        for request in sent:
            _check(running, request)
        # What was stored can be shown.
        for path in dict.fromkeys(request.target.partition("?")[0] for request in sent):
            _check(running, Sent("GET", path, [_AS_TABLE]))
        assert not running.faults, sent
