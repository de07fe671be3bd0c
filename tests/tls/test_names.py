"""Whom a certificate names."""

from __future__ import annotations

import pytest

from etl_operator.tls.names import is_for, is_member, names_of

POD = "main-0.main-headless.etl.svc.cluster.local"


@pytest.mark.parametrize(
    ("name", "host", "found"),
    [
        (POD, POD, True),
        (POD.upper(), POD, True),
        (POD, f"{POD}.", True),
        ("*.main-headless.etl.svc.cluster.local", POD, True),
        ("*.MAIN-headless.etl.svc.cluster.local", POD, True),
        # The asterisk is one label, and a whole one.
        ("*.etl.svc.cluster.local", POD, False),
        ("*.main-headless.etl.svc.cluster.local", "main-headless.etl.svc.cluster.local", False),
        ("main-*.main-headless.etl.svc.cluster.local", POD, False),
        ("*", POD, False),
        ("*", "localhost", False),
        ("*.", "localhost", False),
        (POD, "main-1.main-headless.etl.svc.cluster.local", False),
        ("10.0.0.1", "10.0.0.1", True),
        ("*.0.0.1", "10.0.0.1", False),
        ("FD00:0:0:0:0:0:0:1", "fd00::1", True),
        ("fd00::2", "fd00::1", False),
        ("", "", True),
    ],
)
def test_a_name_is_that_of_a_host(name: str, host: str, found: bool) -> None:
    assert is_for([name], host) is found
    assert is_for(["other.example", name], host) is found


@pytest.mark.parametrize(
    ("name", "found"),
    [
        (POD, True),
        ("*.main-headless.etl.svc.cluster.local", True),
        ("main-headless.etl.svc.cluster.local", False),
        ("a.main-0.main-headless.etl.svc.cluster.local", False),
        ("main-0.other-headless.etl.svc.cluster.local", False),
        ("main.etl.svc.cluster.local", False),
    ],
)
def test_a_name_is_that_of_a_member(name: str, found: bool) -> None:
    assert is_member(["other.example", name], "*.main-headless.etl.svc.cluster.local") is found


def test_nobody_is_named() -> None:
    assert not is_for([], POD)


def test_only_the_alternative_names_count() -> None:
    certificate = {
        "subject": ((("commonName", POD),),),
        "subjectAltName": (("DNS", "a"), ("email", "b@example"), ("IP Address", "10.0.0.1")),
    }
    assert names_of(certificate) == ["a", "10.0.0.1"]
    assert names_of({"subject": certificate["subject"]}) == []
