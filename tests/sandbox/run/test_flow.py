"""Counting the records that services have moved, and saying what became of them."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp import web

from etl_operator.sandbox.flow import Counts, Flow, samples_in, services_in, unanswered_in
from etl_operator.sandbox.kubelet import ProcessNode
from etl_operator.sandbox.manifests import built_in, load_manifests
from etl_operator.sandbox.progress import Progress
from etl_operator.sandbox.report import Report
from informers.client import Client
from informers.objects import Object, ObjectKey, Resource
from tests.sandbox.http.serving import client_of, eventually, serving

POD = Resource("", "v1", "pods", "Pod")


def deployment(
    *arguments: str, image: str = "etl-service:latest", name: str = "one", **fields: Any
) -> Object:
    container = {"name": "service", "image": image, "args": list(arguments), **fields}
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


SOURCE = deployment("source", "generate", "--count=100", name="source")
SINK = deployment("sink", "file", "--fsync", "/data/out.jsonl", name="sink")


def test_the_sample_services_are_recognized() -> None:
    found = services_in(load_manifests(built_in("samples") / "services"))
    assert {one.name for one in found} == {
        "kafka-users",
        "filter-active",
        "enrich-geo",
        "clickhouse-analytics",
    }
    assert sum(one.count for one in found) == 10_000
    assert [one.output for one in found if one.output] == ["/data/records.jsonl"]


@pytest.mark.parametrize(
    ("obj", "count"),
    [
        (SOURCE, 100),
        (deployment("source", "generate"), 0),
        (deployment("source", "file", "--count=7"), 0),
        (deployment("source", "generate", "--count=many"), 0),
        (SINK, 0),
    ],
)
def test_only_a_source_that_says_how_many_it_makes_is_waited_for(obj: Object, count: int) -> None:
    assert [one.count for one in services_in([obj])] == [count]


def test_what_runs_another_program_is_no_service() -> None:
    others = [
        deployment("source", "generate", "--count=1", image="busybox"),
        deployment("source", "generate", "--count=1", command=["sh"]),
        {**SOURCE, "kind": "StatefulSet"},
    ]
    assert services_in(others) == []


def test_samples_of_a_page_of_metrics() -> None:
    page = """# HELP etl_service_records_total Records.
etl_service_records_total{result="accepted"} 12.0
etl_service_records_created{result="accepted"} 1.7e+09
etl_router_pipeline_dead_letters_total{pipeline="a"} 3.0
etl_router_pipeline_parked_records{pipeline="a"} 1.0
other 5
"""
    assert list(samples_in(page)) == [
        ("accepted", 12),
        ("etl_router_pipeline_dead_letters_total", 3),
        ("etl_router_pipeline_parked_records", 1),
    ]


def test_stages_whose_services_do_not_answer_are_named() -> None:
    page = """etl_router_stage_broken{pipeline="default/a",stage="one"} 1.0
etl_router_stage_broken{pipeline="default/a",stage="two"} 0.0
etl_router_stage_unanswered_calls_total{pipeline="default/a",stage="two"} 6.0
etl_router_stage_unanswered_calls_total{pipeline="default/a",stage="three"} 0.0
"""
    assert list(unanswered_in(page)) == [f"stage {name} of pipeline default/a" for name in ("one", "two")]


class World:
    """A cluster with a source and a sink, whose metrics this test serves."""

    def __init__(
        self, client: Client, port: int, results: dict[str, int], stored: list[int], directory: Path
    ) -> None:
        self.results = results
        self.stored = stored
        """Records in a durable buffer."""
        self.screen = io.StringIO()
        self.out = directory / "out.jsonl"
        self.out.write_text('{"a": 1}\n', encoding="utf-8")
        self.now = 0.0
        self._client = client
        self._port = port
        self._directory = directory
        self.flow = Flow(client, services_in([SOURCE, SINK]), lambda: self.now)

    def report(self) -> Report:
        progress = Progress(lambda: self.now, self.screen)
        return Report(self.flow, cast(ProcessNode, self), progress, self._directory / "sandbox.kubeconfig")

    # As the node of the pods:

    def file(self, pod: ObjectKey, container: str, path: str) -> Path | None:
        assert (pod.name, container, path) == ("sink", "service", "/data/out.jsonl")
        return self.out

    async def logs(self, namespace: str, pod: str, container: str, **_: Any) -> AsyncGenerator[bytes, None]:
        yield f"{pod} has a problem\n".encode()

    async def add(self, name: str, restarts: int = 0) -> None:
        key = ObjectKey("default", name)
        ports = [{"name": "metrics", "containerPort": self._port}]
        container = {"name": "service", "image": "etl-service:latest", "ports": ports}
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
            "spec": {"containers": [container]},
        }
        await self._client.create(POD, body)
        status = {
            "phase": "Running",
            # Every pod answers with the same page, and only the source is asked.
            "podIP": "127.0.0.1" if name == "source" else "127.1.2.3",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [
                {"name": "service", "restartCount": restarts, "ready": True, "image": "i", "imageID": ""}
            ],
        }
        await self._client.patch(POD, key, {"status": status}, subresource="status")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    results: dict[str, int] = {}
    stored = [0]

    async def page(_: web.Request) -> web.Response:
        lines = ['etl_router_stage_broken{pipeline="default/a",stage="one"} 1.0']
        lines += [f'etl_service_records_total{{result="{name}"}} {value}' for name, value in results.items()]
        lines.append(f'etl_router_pipeline_stored_records{{pipeline="default/a"}} {stored[0]}')
        return web.Response(text="\n".join(lines))

    app = web.Application()
    app.router.add_get("/metrics", page)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    async with serving() as server, client_of(server, tmp_path) as client:
        yield World(client, port, results, stored, tmp_path)
    await runner.cleanup()


@contextlib.asynccontextmanager
async def running(report: Report) -> AsyncIterator[None]:
    task = asyncio.create_task(report.run())
    try:
        yield
        assert not task.done(), task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def shown(world: World, text: str) -> None:
    async def look() -> bool:
        return text in world.screen.getvalue()

    await eventually(look, what=text)


async def test_the_numbers_are_said_once_all_have_come_and_the_output_is_kept(
    world: World, tmp_path: Path
) -> None:
    report = world.report()
    async with running(report):
        await shown(world, "waiting records: some arrived: 0 of 100")
        await world.add("source")
        await world.add("sink")
        world.results |= {"accepted": 40, "filtered": 10, "written": 30}

        async def counted() -> bool:
            return world.flow.counts == Counts(40, 10, 0, 30)

        await eventually(counted, what="the first records")
        assert not report.finished.is_set()
        world.now = 2.0
        world.results |= {"accepted": 99, "duplicate": 1, "filtered": 20, "written": 80}
        await report.finished.wait()
    said = world.screen.getvalue()
    assert "ready   records: all arrived: 100 of 100" in said
    assert "100 records arrived: 20 filtered, 0 dead-lettered, 80 written, 50 records/s" in said
    copy = tmp_path / "sandbox.sink.jsonl"
    assert f"output: {copy}" in said
    assert copy.read_text(encoding="utf-8") == '{"a": 1}\n'


async def test_what_is_stored_on_its_way_to_the_sinks_is_waited_for(world: World) -> None:
    report = world.report()
    async with running(report):
        await world.add("source")
        await world.add("sink")
        world.stored[0] = 60
        world.results |= {"accepted": 100, "written": 40}

        async def counted() -> bool:
            return world.flow.counts == Counts(100, 0, 0, 40, 60)

        await eventually(counted, what="all are stored")
        assert not report.finished.is_set()
        world.stored[0] = 0
        world.results |= {"written": 100}
        await report.finished.wait()
    assert "100 records arrived: 0 filtered, 0 dead-lettered, 100 written" in world.screen.getvalue()


async def test_a_source_that_goes_on_after_a_restart_is_not_waited_for(world: World) -> None:
    await world.add("source", restarts=1)
    world.results["accepted"] = 0
    async with running(report := world.report()):
        await report.finished.wait()
    assert "records: some arrived: 0 of 100" in world.screen.getvalue()


async def test_records_that_do_not_come_are_explained_by_counts_and_logs(world: World) -> None:
    await world.add("source")
    await world.add("sink")
    world.results["accepted"] = 7

    async def counted() -> bool:
        return world.flow.counts.came == 7

    async with running(report := world.report()):
        await eventually(counted, what="some records")
        await report.explain(60)
    said = world.screen.getvalue()
    assert "everything is Ready, but only 7 of 100 records arrived within 60 s" in said
    assert "stage one of pipeline default/a: calls of its service failed" in said
    assert "the last lines of source source:" in said and "| source has a problem" in said
    assert "the last lines of sink sink:" in said
