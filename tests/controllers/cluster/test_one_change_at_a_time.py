"""Never two kinds of change at once, always a quorum, and everything ends: whatever users do, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import product

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from etl_operator.api import CLUSTER
from tests.controllers.cluster.plant import CHANGES, NAME, Plant

ENOUGH = 900
"""Ticks after which everything must have ended: some changes wait for what does not move, for minutes."""


async def play(changes: Sequence[tuple[int, str]], *, offline: bool = False) -> Plant:
    """Let a cluster start, make each change after its number of ticks, and wait until all has ended."""
    plant = Plant(offline=offline)
    await until_ended(plant)
    for pause, change in changes:
        for _ in range(pause):
            await plant.tick()
        plant.change(change)
    for _ in range(5):
        await plant.tick()
    plant.resume()
    await until_ended(plant)
    return plant


async def until_ended(plant: Plant) -> None:
    for _ in range(ENOUGH):
        await plant.tick()
        if plant.ended:
            return
    raise AssertionError(f"it does not end: {plant.store.of(CLUSTER, NAME)['status']['conditions']}")


@pytest.mark.parametrize("offline", [False, True])
@pytest.mark.parametrize(("first", "second"), list(product(CHANGES, repeat=2)))
async def test_pairs(first: str, second: str, offline: bool) -> None:
    done = {"image": "roll", "restart": "roll", "grow": "volumes", "scale": "size"}
    for pause in (0, 4):
        plant = await play([(0, first), (pause, second)], offline=offline)
        assert {done[what] for what in (first, second) if what in done} <= set(plant.kinds)


@settings(max_examples=25)
@example(changes=[(0, "grow"), (3, "image"), (0, "grow")], offline=True)
@given(
    changes=st.lists(st.tuples(st.integers(0, 25), st.sampled_from(CHANGES)), min_size=3, max_size=5),
    offline=st.booleans(),
)
def test_any_three_and_more(changes: list[tuple[int, str]], offline: bool) -> None:
    asyncio.run(play(changes, offline=offline))


async def test_the_order_is_volumes_then_roll_then_size() -> None:
    plant = await play([(0, "scale"), (0, "image"), (0, "grow")])
    kinds = [kind for n, kind in enumerate(plant.kinds) if n == 0 or plant.kinds[n - 1] != kind]
    # The member that joins gets its volume from the template, which keeps the first size; it grows last.
    assert kinds == ["volumes", "roll", "size", "roll", "volumes"]
