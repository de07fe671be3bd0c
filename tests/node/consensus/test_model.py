"""The engine in virtual time: the properties hold in every history, and the model finds faults put back."""

from __future__ import annotations

import subprocess
import sys

import pytest

from etl_operator.node.consensus.member import Member
from tests.node.model import history, mutants
from tests.node.model.properties import Violation

HISTORIES = 300
"""`make model` plays 10 000."""


@pytest.mark.parametrize("first", range(0, HISTORIES, 50))
def test_no_history_violates_a_property(first: int) -> None:
    played = [history.run(seed) for seed in range(first, first + 50)]
    # They are about something.
    assert sum(len(each.properties.acknowledged) for each in played) > 500
    assert sum(each.properties.counts["elections"] for each in played) > 50
    assert sum(each.properties.counts["restarts"] for each in played) > 50
    assert sum(each.properties.counts["entries replaced"] for each in played) > 0


def test_a_history_is_the_same_each_time() -> None:
    first, second = history.run(11), history.run(11)
    assert first.events == second.events
    assert first.properties.applied == second.properties.applied


def test_the_command_counts_histories_and_violations() -> None:
    command = [sys.executable, "-m", "tests.node.model", "--first", "7", "--histories", "3", "--jobs", "1"]
    played = subprocess.run(command, capture_output=True, text=True, check=True)
    assert played.stdout.startswith("3 histories in ")
    assert " 0 violations; " in played.stdout
    traced = subprocess.run([*command, "--trace"], capture_output=True, text=True, check=True)
    assert " to 2: PreVote(" in traced.stdout


@pytest.mark.parametrize("mutant", mutants.MUTANTS)
def test_the_model_finds_a_fault_put_back(mutant: type[Member]) -> None:
    with pytest.raises(Violation):
        for seed in range(2000):
            history.run(seed, mutant)
