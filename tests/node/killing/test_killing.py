"""Processes of every kind are killed while records flow: nothing accepted is lost, and order is kept.

``DATA_SEEDS`` says how many runs are played; `make kill` plays 200.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.node.killing.scene import Figures, plan_of, play, scene
from tests.node.killing.traces import (
    Journal,
    Violation,
    Written,
    check_accepted,
    check_complete,
    check_order,
    duplicates,
)

SEEDS = int(os.environ.get("DATA_SEEDS", "4"))


async def test_no_kill_breaks_a_promise(tmp_path: Path) -> None:
    total = Figures()
    async with scene(tmp_path) as made:
        for seed in range(SEEDS):
            total.add(await play(made, plan_of(seed)))
    assert total.runs == SEEDS
    assert total.kills.total() >= SEEDS


def test_the_plans_kill_processes_of_every_kind() -> None:
    plans = [plan_of(seed) for seed in range(50)]
    assert {kind for plan in plans for kind in plan.faults} == {
        "node",
        "worker",
        "source",
        "transform",
        "sink",
    }
    assert plans == [plan_of(seed) for seed in range(50)]


def test_violations_are_seen(tmp_path: Path) -> None:
    written, journal = tmp_path / "written", tmp_path / "journal"
    # The third line was not finished, and the last one may still be.
    written.write_text("\ns 0 1 - .\ns 0 3\n\ns 0 2 - .\nother 0 9 - .\ns 0 1 - .\ns 0 7 -")
    journal.write_text("start 0 0\naccepted 0 1\naccepted 0 2\nstart 0 2\naccept")
    seen, said = Written(written), Journal(journal)
    check_accepted(said, seen, "s")
    assert seen.of("s") == [(0, 1), (0, 2), (0, 1)]
    assert said.starts == [{0: 0}, {0: 2}]
    assert duplicates(seen.of("s")) == 1
    check_order(seen.of("s"))
    check_complete(seen.of("s"), 1, 2)
    with pytest.raises(Violation, match="1 records are lost"):
        check_complete(seen.of("s"), 1, 3)
    with pytest.raises(Violation, match="unknown"):
        check_complete(seen.of("s"), 1, 1)
    with pytest.raises(Violation, match="came after 2"):
        check_order([(0, 2), (0, 1)])
    journal.write_text("accepted 0 3\n")
    with pytest.raises(Violation, match="accepted and are not in a sink"):
        check_accepted(said, seen, "s")
    journal.write_text("rejected 0 1\n")
    with pytest.raises(Violation, match="rejected"):
        check_accepted(said, seen, "s")
