"""Pipelines that take long to compile, and a worker that answers meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest

from etl_operator.node.data import plans
from etl_operator.node.data.plane import DataPlane
from etl_operator.node.data.view import Pipeline, Snapshot
from etl_operator.node.settings import Settings
from etl_operator.node.worker import link
from etl_operator.node.worker.process import WorkerProcess
from etl_operator.router.pb import router_pb2
from tests.node.data.made import config, line, stage

MANY = 20


@pytest.fixture(autouse=True)
def _one_plan_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "SLICE_SECONDS", 0.0)


def stored(made: router_pb2.PipelineConfig) -> Pipeline:
    return Pipeline(made.id, made.SerializeToString(), enabled=True)


def lines(number: int = MANY, sink: str = "out") -> list[Pipeline]:
    return [stored(line(f"ns/p-{i}", sink=sink)) for i in range(number)]


async def test_other_tasks_run_while_plans_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = config("ns/broken", [stage("out", router_pb2.STAGE_TYPE_SINK)], [])
    pipelines = [*lines(), stored(broken)]
    plane, slices, turns = DataPlane(), list[int](), list[int]()

    async def other() -> None:
        while True:
            turns.append(len(slices))
            await asyncio.sleep(0)

    running = asyncio.create_task(other())
    await plane.prepare(pipelines, lambda: slices.append(len(slices)))
    running.cancel()
    assert len(slices) == len(pipelines)
    assert turns == list(range(1, len(pipelines) + 1))
    # Nothing holds before the update, and the update compiles nothing.
    assert not plane.is_told
    assert plane.report().pipelines == {}
    with monkeypatch.context() as patched:
        patched.setattr(plans, "plan_of", None)
        plane.update(Snapshot(1, pipelines, []))
    prepared = plane.report()
    await plane.close()
    plane = DataPlane()
    plane.update(Snapshot(1, pipelines, []))
    assert prepared == plane.report()
    assert "at least one stage of type SOURCE" in prepared.pipelines["ns/broken"].problem
    await plane.close()


async def test_plans_that_were_prepared_for_another_snapshot_are_not_used() -> None:
    plane = DataPlane()
    await plane.prepare(lines(sink="one"), lambda: None)
    plane.update(Snapshot(1, lines(sink="other"), []))
    assert {*plane.report().pipelines["ns/p-0"].stages} == {"src", "other"}
    await plane.close()


async def test_a_worker_says_that_it_runs_while_it_compiles_plans() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{probe.getsockname()[1]}"
    ours, theirs = [await link.Link.over(end) for end in socket.socketpair()]
    first = Snapshot(1, lines(), [])
    worker = WorkerProcess(theirs, link.Begin(0, 1, where, where, Settings(), first))
    running = asyncio.create_task(worker.run())

    async def beats() -> tuple[int, link.Message | None]:
        """How many come before another message, and that one."""
        number = 0
        while isinstance(message := await ours.read(), link.Beat):
            number += 1
        return number, message

    try:
        assert await beats() == (MANY, link.Serving())
        # What is as before is not compiled again.
        changed = [*lines(MANY - 2), *lines(MANY, sink="other")[-2:]]
        ours.send(link.Change(2, changed))
        ours.send(link.Ask(1))
        number, answer = await beats()
        assert number == 2
        assert isinstance(answer, link.Answer)
        assert answer.report.applied == 2
        assert {*answer.report.pipelines[f"ns/p-{MANY - 1}"].stages} == {"src", "other"}
        ours.send(link.Stop())
        assert await running == 0
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        ours.close()
        theirs.close()
