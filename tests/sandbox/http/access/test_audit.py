"""The record of decisions: every one of them, in whole lines, whatever the disk says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from etl_operator.sandbox.http.access.audit import Audit
from etl_operator.sandbox.http.access.identity import Identity
from etl_operator.sandbox.http.access.rbac import Attributes


def test_a_decision_is_a_line_that_can_be_read_at_once(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    audit = Audit(path, lambda: 1.5)
    audit(Identity("bob"), Attributes("get", "apps", "statefulsets", namespace="n", name="x"), True)
    audit(Identity("bob"), Attributes("get", path="/metrics"), False)
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert lines == [
        {
            "time": 1.5,
            "user": "bob",
            "allowed": True,
            "verb": "get",
            "group": "apps",
            "resource": "statefulsets",
            "namespace": "n",
            "name": "x",
        },
        {"time": 1.5, "user": "bob", "allowed": False, "verb": "get", "path": "/metrics"},
    ]
    audit.close()
    assert path.stat().st_mode & 0o077 == 0


def test_a_disk_that_is_full_costs_lines_and_no_answers(caplog: pytest.LogCaptureFixture) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    audit = Audit(full, lambda: 0.0)
    for _ in range(2):
        audit(Identity("bob"), Attributes("get"), True)
    assert [
        record.message for record in caplog.records if "cannot write to the audit log" in record.message
    ] == ["cannot write to the audit log, decisions are missing in it: [Errno 28] No space left on device"]
    audit.close()
