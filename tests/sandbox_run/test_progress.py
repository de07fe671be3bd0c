"""What a person sees: when something counts as ready, and how it is shown."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import pytest

from etl_operator.sandbox.progress import HOLD, Progress, State, readiness
from informers.objects import Object
from informers.testing.clock import run_virtual


def etl(generation: int = 2, **condition: Any) -> Object:
    return {
        "apiVersion": "etl.router/v1",
        "kind": "EtlSink",
        "metadata": {"name": "x", "generation": generation},
        "status": {"conditions": [condition] if condition else []},
    }


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
            State(False, "the operator has not seen the latest change yet"),
        ),
        (etl(type="Ready", status="False", message="no"), State(False, "no")),
        (etl(type="Ready", status="Unknown", reason="Why"), State(False, "Why")),
        (
            {"apiVersion": "v1", "metadata": {"deletionTimestamp": "2027-01-01T00:00:00Z"}},
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


def test_a_log_gets_a_line_per_change_that_lasts() -> None:
    stream = io.StringIO()

    async def scenario() -> None:
        clock = asyncio.get_running_loop()
        began = clock.time()
        progress = Progress(lambda: clock.time() - began, stream)
        progress.expect(["A/a", "B/b"])
        progress.update("A/a", State(False, "Begun"))
        progress.update("A/a", State(False, "Soon: 1 of 2"))
        await asyncio.sleep(HOLD * 0.8)
        # One line for both: the first would be gone before it is read.
        progress.update("A/a", State(False, "Later: 1 of 2"))
        await asyncio.sleep(HOLD)
        progress.update("A/a", State(False, "Later: 2 of 2"))
        await asyncio.sleep(HOLD)
        progress.update("A/a", State(True, "Done: 2 of 2"))
        progress.update("A/a", State(False, "Later: 2 of 3"))
        assert progress.waiting == {"A/a": "Later: 2 of 3", "B/b": "not created yet"}
        progress.update("A/a", State(True, "Done: 3 of 3"))
        assert progress.waiting == {"B/b": "not created yet"}
        await asyncio.sleep(HOLD * 2)
        progress.update("A/a", State(False, "Later: 3 of 4"))
        await asyncio.sleep(HOLD * 2)
        progress.say("hello")

    run_virtual(scenario())
    assert stream.getvalue().splitlines() == [
        "[  0.0s] waiting A/a: Begun",
        "[  0.5s] waiting A/a: Later: 1 of 2",
        "[  1.4s] ready   A/a: Done: 2 of 2",
        "[  2.9s] waiting A/a: Later: 3 of 4",
        "[  3.4s] hello",
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
