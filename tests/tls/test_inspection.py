"""What is wrong with a certificate before members rely on it."""

from __future__ import annotations

import time

import pytest

from etl_operator.tls.files import TlsError
from etl_operator.tls.inspection import inspect
from tests.certificates import DAY, SERVER_ONLY, Authority, Issued

AUTHORITY = Authority()


def of(issued: Issued) -> object:
    return inspect(issued.certificate, issued.key, issued.authority)


def test_what_is_in_a_good_one() -> None:
    found = inspect(*AUTHORITY.issue("a.example", "*.b.example", "10.0.0.1", lasts=2 * DAY).data.values())
    assert found.names == ("a.example", "*.b.example", "10.0.0.1")
    assert found.not_after - found.not_before == 2 * DAY
    assert found.not_before < time.time() < found.not_after


@pytest.mark.parametrize("begins", [-10 * DAY, 10 * DAY])
def test_one_that_is_not_valid_now_is_read_too(begins: float) -> None:
    found = inspect(*AUTHORITY.issue("a.example", begins=begins, lasts=DAY).data.values())
    assert found.names == ("a.example",)


def test_usages_may_be_left_out() -> None:
    of(AUTHORITY.issue("a", usages=None))


@pytest.mark.parametrize(
    ("issued", "problem"),
    [
        (
            AUTHORITY.issue("a", usages=SERVER_ONLY),
            'tls.crt needs the usages "server auth" and "client auth"',
        ),
        (
            Issued(AUTHORITY.issue("a").certificate, AUTHORITY.issue("a").key, AUTHORITY.certificate),
            "tls.crt and tls.key cannot be used as certificate and key",
        ),
        (
            Issued(*AUTHORITY.issue("a").pair, Authority("other").certificate),
            "tls.crt is not signed by ca.crt",
        ),
        (Issued(b"nothing", AUTHORITY.issue("a").key, AUTHORITY.certificate), "tls.crt and tls.key cannot"),
        (Issued(*AUTHORITY.issue("a").pair, b"nothing"), "ca.crt has no usable certificate authority"),
    ],
    ids=["usage", "key", "authority", "no certificate", "no authority"],
)
def test_what_is_wrong_is_said_by_the_keys_of_the_secret(issued: Issued, problem: str) -> None:
    with pytest.raises(TlsError, match=problem) as raised:
        of(issued)
    assert "/" not in str(raised.value)
