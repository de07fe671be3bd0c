"""Causes as numbers: what they are called, and that there is an end to their series."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from informers.controller import Controller
from informers.controller.causes import MAX_LABELS, CauseCounter, label_of
from informers.metrics import Metrics
from informers.objects import ObjectKey, Result
from informers.testing.clock import VirtualClock, run_virtual


@pytest.mark.parametrize(
    ("cause", "label"),
    [
        ("Pod changed", "Pod changed"),
        ("Pod a/b changed", "Pod changed"),
        ("Node worker-1 gone", "Node gone"),
        ("retry", "retry"),
        ("the weekly look", "the weekly look"),
        ("", ""),
    ],
)
def test_labels_name_no_object(cause: str, label: str) -> None:
    assert label_of(cause) == label


def counted(metrics: Metrics) -> dict[str, float]:
    lines = metrics.render().decode().splitlines()
    begin = 'controller_reconcile_causes_total{cause="'
    found = [line.removeprefix(begin) for line in lines if line.startswith(begin)]
    return {line.partition('"')[0]: float(line.rpartition(" ")[2]) for line in found}


@given(st.lists(st.lists(st.sampled_from(["requeue", "Pod a/b changed", "Pod c changed", "x"])), max_size=50))
def test_each_cause_of_each_reconcile_counts_once(reconciles: list[list[str]]) -> None:
    metrics = Metrics(process=False)
    counter = CauseCounter(metrics, "c")
    wanted: dict[str, float] = {}
    for number, causes in enumerate(reconciles):
        counter.note(tuple(causes))
        for cause in causes:
            label = "Pod changed" if cause.startswith("Pod") else cause
            wanted[label] = wanted.get(label, 0) + 1
        if number % 7 == 0:
            counter.settle()
    counter.settle()
    assert counted(metrics) == wanted


def test_there_is_an_end_to_the_series() -> None:
    metrics = Metrics(process=False)
    counter = CauseCounter(metrics, "c")
    for number in range(10_000):
        counter.note((f"cause-{number}", f"Pod a/{number} changed"))
    counter.settle()
    found = counted(metrics)
    assert len(found) == MAX_LABELS + 1
    assert (found["Pod changed"], sum(found.values())) == (10_000, 20_000)


def test_a_controller_shows_why_it_worked() -> None:
    class Twice:
        async def reconcile(self, key: ObjectKey) -> Result:
            return Result.after(5) if key.name == "again" else Result.done()

    async def main() -> None:
        metrics = Metrics(process=False)
        controller = Controller("c", Twice(), clock=VirtualClock())
        controller.measure(metrics)
        running = asyncio.ensure_future(controller.run())
        controller.enqueue(ObjectKey("a", "again"), cause="Pod a/again changed")
        controller.enqueue(ObjectKey("a", "once"), cause="Pod a/once changed")
        controller.enqueue(ObjectKey("a", "once"), cause="asked for")
        await asyncio.sleep(12)
        assert counted(metrics) == {"Pod changed": 2.0, "asked for": 1.0, "requeue": 2.0}
        running.cancel()
        await asyncio.wait([running])

    run_virtual(main())
