"""When an object counts as ready, and how it is shown."""

from __future__ import annotations

import io
from typing import Any

import pytest

from etl_operator.sandbox.progress import Progress, State, readiness
from informers.objects import Object


def etl(generation: int = 2, **condition: Any) -> Object:
    return {
        "apiVersion": "etl.router/v1",
        "kind": "EtlSink",
        "metadata": {"name": "x", "generation": generation},
        "status": {"conditions": [condition] if condition else []},
    }


def being_deleted(**condition: Any) -> Object:
    obj = etl(**condition)
    return {**obj, "metadata": {**obj["metadata"], "deletionTimestamp": "2027-01-01T00:00:00Z"}}


@pytest.mark.parametrize(
    ("obj", "state"),
    [
        (None, State(False, "not created yet")),
        (etl(), State(False, "waiting for the operator")),
        (
            etl(type="Ready", status="True", reason="Good", message="all is well", observedGeneration=2),
            State(True, "Good: all is well"),
        ),
        (
            etl(type="Ready", status="True", reason="Good", observedGeneration=1),
            State(False, "the operator has not observed the latest change yet"),
        ),
        (etl(type="Ready", status="False", message="no"), State(False, "no")),
        (etl(type="Ready", status="Unknown", reason="Why"), State(False, "Why")),
        (
            {"apiVersion": "v1", "metadata": {"deletionTimestamp": "2027-01-01T00:00:00Z"}},
            State(False, "being deleted"),
        ),
        (
            being_deleted(
                type="Ready", status="False", reason="Held", message="used by x", observedGeneration=2
            ),
            State(False, "being deleted, Held: used by x"),
        ),
        (
            being_deleted(
                type="DeletionBlocked",
                status="True",
                reason="InUse",
                message="used by x",
                observedGeneration=2,
            ),
            State(False, "being deleted, InUse: used by x"),
        ),
        # Written before the deletion, or not about it.
        (
            being_deleted(type="Ready", status="False", reason="Old", observedGeneration=1),
            State(False, "being deleted"),
        ),
        (
            being_deleted(type="Ready", status="True", reason="Good", observedGeneration=2),
            State(False, "being deleted"),
        ),
        ({"apiVersion": "v1", "metadata": {}}, State(True, "exists")),
        (
            {
                "apiVersion": "apps/v1",
                "metadata": {},
                "spec": {"replicas": 3},
                "status": {"readyReplicas": 2},
            },
            State(False, "2 of 3 replicas ready"),
        ),
    ],
)
def test_readiness(obj: Object | None, state: State) -> None:
    assert readiness(obj) == state


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_gets_a_line_per_change() -> None:
    stream = io.StringIO()
    progress = Progress(lambda: 1.5, stream)
    progress.expect(["A/a", "B/b"])
    progress.update("A/a", State(False, "soon"))
    progress.update("A/a", State(False, "soon"))
    progress.update("A/a", State(True, "done"))
    assert progress.waiting == {"B/b": "not created yet"}
    progress.say("hello")
    assert stream.getvalue().splitlines() == [
        "[  1.5s] waiting A/a: soon",
        "[  1.5s] ready   A/a: done",
        "[  1.5s] hello",
    ]


def test_a_terminal_gets_a_table_in_place() -> None:
    stream = Terminal()
    progress = Progress(lambda: 0.0, stream)
    progress.expect(["A/a", "Longer/b"])
    progress.update("Longer/b", State(True, "x" * 500))
    progress.say("a line that stays")
    text = stream.getvalue()
    assert text.count("\x1b[2A\x1b[J") == 2
    last = text.rpartition("a line that stays")[2].splitlines()
    assert [line.split()[1] for line in last[1:]] == ["A/a", "Longer/b"]
    assert all(len(line) < 200 for line in last)


def test_objects_that_come_later_are_shown_and_hold_nothing_up() -> None:
    stream = io.StringIO()
    progress = Progress(lambda: 1.5, stream)
    progress.expect(["A/a"])
    progress.update("A/a", State(True, "done"))
    progress.update("B/later", State(False, "soon"))
    assert progress.waiting == {}
    assert not progress.is_waiting
    progress.remove("B/later")
    progress.remove("B/never-seen")
    progress.remove("A/a")
    assert progress.waiting == {"A/a": "deleted"}
    assert progress.is_waiting
    assert stream.getvalue().splitlines() == [
        "[  1.5s] ready   A/a: done",
        "[  1.5s] waiting B/later: soon",
        "[  1.5s] deleted B/later",
        "[  1.5s] waiting A/a: deleted",
    ]


def test_a_table_is_never_taller_than_the_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINES", "10")
    stream = Terminal()
    progress = Progress(lambda: 0.0, stream)
    progress.expect([f"A/{number}" for number in range(50)])
    progress.update("A/49", State(True, "done"))
    last = stream.getvalue().rpartition("\x1b[J")[2].splitlines()
    assert [line.split()[1] for line in last[:-1]] == [f"A/{number}" for number in range(8)]
    assert last[-1].strip() == "and 42 more, 1 of them ready"
