"""One error model out of what routers say."""

from __future__ import annotations

import grpc
import pytest

from etl_operator.router.errors import (
    Faulty,
    Missing,
    NotLeader,
    Overloaded,
    Rejected,
    RouterAdminUnavailable,
    RouterError,
    TimedOut,
    Unimplemented,
    Unreachable,
    from_refusal,
    from_status,
)

Code = grpc.StatusCode
FORWARD = "Raft error: has to forward request to: Some(2), Some(BasicNode { addr: ... })"


@pytest.mark.parametrize(
    ("code", "details", "kind"),
    [
        (Code.UNAVAILABLE, "failed to connect to all addresses; Connection refused (111)", Unreachable),
        (Code.UNAVAILABLE, "not the leader, retry on another node", NotLeader),
        (Code.INTERNAL, "Not the leader", NotLeader),
        (Code.INTERNAL, FORWARD, NotLeader),
        (Code.FAILED_PRECONDITION, "Not the leader. Redirect to leader node.", NotLeader),
        (Code.FAILED_PRECONDITION, "pipeline is disabled: a/b", Rejected),
        (Code.INTERNAL, "Timed out waiting for commit", TimedOut),
        (Code.INTERNAL, "disk full", Faulty),
        (Code.INTERNAL, "Internal error from Core", Unreachable),
        (Code.UNKNOWN, "Unexpected <class 'KeyError'>", Faulty),
        (Code.DATA_LOSS, "", Faulty),
        (Code.DEADLINE_EXCEEDED, "Deadline Exceeded", TimedOut),
        (Code.CANCELLED, "", Unreachable),
        (Code.INVALID_ARGUMENT, "identity required", Rejected),
        (Code.NOT_FOUND, "pipeline not found: a/b", Missing),
        (Code.ALREADY_EXISTS, "pipeline already exists: a/b", Rejected),
        (Code.PERMISSION_DENIED, "", Rejected),
        (Code.UNAUTHENTICATED, "", Rejected),
        (Code.OUT_OF_RANGE, "", Rejected),
        (Code.RESOURCE_EXHAUSTED, "buffer full", Overloaded),
        (Code.RESOURCE_EXHAUSTED, "SERVER: Received message larger than max (5 vs. 4)", Rejected),
        (Code.RESOURCE_EXHAUSTED, "received metadata size exceeds hard limit (5 vs. 4)", Rejected),
        (Code.ABORTED, "", Overloaded),
        (Code.UNIMPLEMENTED, "", RouterAdminUnavailable),
        (Code.UNIMPLEMENTED, "not the leader", RouterAdminUnavailable),
    ],
)
def test_every_code_has_one_meaning(code: Code, details: str, kind: type[RouterError]) -> None:
    error = from_status(code, details, address="a:1", service="router.RouterAdmin", method="GetPipeline")
    assert type(error) is kind
    assert (error.address, error.method) == ("a:1", "GetPipeline")
    assert str(error).endswith(" (GetPipeline at a:1)")


def test_every_code_is_known() -> None:
    for code in Code:
        if code is not Code.OK:
            error = from_status(code, None, address="a:1", service="registry.ServiceRegistry", method="M")
            assert error.message


def test_only_router_admin_is_expected_to_be_missing() -> None:
    error = from_status(
        Code.UNIMPLEMENTED, "", address="a:1", service="registry.ServiceRegistry", method="Register"
    )
    assert type(error) is Unimplemented


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Not the leader", NotLeader),
        ("not the leader, retry on another node", NotLeader),
        (FORWARD, NotLeader),
        ("pipeline not found: a/b", Missing),
        ("Timed out waiting for commit", TimedOut),
        ("no such stage type", Rejected),
        ("", Rejected),
    ],
)
def test_a_refusal_in_an_answer_is_an_error(text: str, kind: type[RouterError]) -> None:
    error = from_refusal(text, address="a:1", method="CreatePipeline")
    assert type(error) is kind
    assert text in error.message
    assert error.message


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (
            "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:4242: Failed to connect "
            "to remote host: connect: Connection refused (111)",
            "last error: UNKNOWN: ipv4:127.0.0.2:1: connect: Connection refused (61)",
        ),
        ("Socket closed", "recvmsg:Connection reset by peer"),
        ("FD Shutdown", "Timeout occurred: FD Shutdown"),
        ("DNS resolution failed for a: C-ares status is not ARES_SUCCESS", "dns resolution failed: Timeout"),
        ("HTTP proxy returned response code 502", "proxy said: 503"),
    ],
)
def test_one_outage_has_one_wording(first: str, second: str) -> None:
    def message(details: str) -> str:
        return from_status(Code.UNAVAILABLE, details, address="", service="s", method="").message

    assert message(first) == message(second)
    assert message(first) != message("something else")
