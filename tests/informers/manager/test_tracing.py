"""Spans: what is below what, what is said of failures, and nothing at all unless it is asked for."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from informers.client import Client, requests
from informers.controller import Controller
from informers.errors import ConfigError, NotFound
from informers.objects import ObjectKey, Result
from informers.testing.clock import VirtualClock, run_virtual
from informers.testing.transport import ApiServerTransport
from informers.tracing import TracedTransport, Tracing, open_tracing
from tests.informers.manager.operator import CONFIG_MAP, config_map, key, server


def recorded() -> tuple[Tracing, InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Tracing(provider), exporter


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_a_request_and_a_call_are_below_their_reconcile() -> None:
    async def main() -> None:
        tracing, exporter = recorded()
        async with server(config_map("a")) as core:
            client = Client(TracedTransport(ApiServerTransport(core), tracing), clock=VirtualClock())

            class Reads:
                async def reconcile(self, key: ObjectKey) -> Result:
                    await client.get(CONFIG_MAP, key)
                    tracing.past("router GetPipeline", 0.5, {"rpc.system": "grpc"}, failed=False)
                    return Result.done()

            one = Controller("reads", Reads(), clock=VirtualClock())
            one.trace(tracing)
            running = asyncio.ensure_future(one.run())
            one.enqueue(key("a"), cause="a test")
            await asyncio.sleep(1)
            running.cancel()
        request, call, reconcile = exporter.get_finished_spans()
        assert [span.name for span in (request, call, reconcile)] == [
            "GET",
            "router GetPipeline",
            "reconcile reads",
        ]
        assert reconcile.parent is None
        for below in (request, call):
            assert below.parent is not None and reconcile.context is not None
            assert below.parent.span_id == reconcile.context.span_id
        assert attributes(reconcile) | {"reconcile.id": ""} == {
            "controller": "reads",
            "k8s.namespace.name": "default",
            "k8s.object.name": "a",
            "reconcile.causes": ("a test",),
            "reconcile.failures": 0,
            "reconcile.id": "",
        }
        assert str(attributes(reconcile)["reconcile.id"]).endswith("-1")
        assert attributes(request)["http.response.status_code"] == 200
        assert (call.end_time or 0) - (call.start_time or 0) == 500_000_000

    run_virtual(main())


def test_a_failure_shows_in_the_spans_and_is_still_a_failure() -> None:
    async def main() -> None:
        tracing, exporter = recorded()
        async with server() as core:
            client = Client(TracedTransport(ApiServerTransport(core), tracing), clock=VirtualClock())
            failures = 0

            class Fails:
                async def reconcile(self, key: ObjectKey) -> Result:
                    nonlocal failures
                    failures += 1
                    await client.get(CONFIG_MAP, key)
                    return Result.done()

            one = Controller("fails", Fails(), clock=VirtualClock())
            one.trace(tracing)
            running = asyncio.ensure_future(one.run())
            one.enqueue(key("none"))
            await asyncio.sleep(0.001)
            running.cancel()
            with pytest.raises(NotFound):
                await client.get(CONFIG_MAP, key("none"))
        request, reconcile = exporter.get_finished_spans()[:2]
        assert (request.name, reconcile.name, failures) == ("GET", "reconcile fails", 1)
        assert not request.status.is_ok
        assert not reconcile.status.is_ok
        assert [event.name for event in reconcile.events] == ["exception"]

    run_virtual(main())


def test_a_stream_is_a_span_until_it_is_answered() -> None:
    async def main() -> None:
        tracing, exporter = recorded()
        async with server(config_map("a")) as core:
            transport = TracedTransport(ApiServerTransport(core), tracing)
            watch = requests.watch(CONFIG_MAP, resource_version="0", server_timeout=30, read_deadline=5.0)
            async with transport.stream(watch) as stream:
                assert [span.name for span in exporter.get_finished_spans()] == ["GET"]
                assert stream.status == 200
            with pytest.raises(RuntimeError, match="passes"):
                async with transport.stream(watch):
                    raise RuntimeError("passes through")

    run_virtual(main())


def test_nothing_is_imported_unless_it_is_asked_for() -> None:
    code = (
        "import sys, etl_operator.cli.operator\n"
        "loaded = [name for name in sys.modules if name.startswith('opentelemetry')]\n"
        "sys.exit(f'loaded: {loaded}' if loaded else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_without_the_packages_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("informers.tracing.importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install '\.\[tracing\]'"):
        open_tracing("x", "1")


async def test_spans_arrive_at_a_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    arrived: list[str] = []

    async def collect(request: web.Request) -> web.Response:
        found = ExportTraceServiceRequest.FromString(await request.read())
        for resource in found.resource_spans:
            arrived.extend(span.name for scope in resource.scope_spans for span in scope.spans)
        return web.Response(content_type="application/x-protobuf")

    application = web.Application()
    application.router.add_post("/v1/traces", collect)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        endpoint = f"http://127.0.0.1:{runner.addresses[0][1]}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        tracing = open_tracing("etl-operator", "1")
        tracing.past("router ListPipelines", 0.1, {}, failed=True)
        await asyncio.to_thread(tracing.close)
    finally:
        await runner.cleanup()
    assert arrived == ["router ListPipelines"]


def test_the_environment_names_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    tracing = open_tracing("etl-operator", "1.2.3")
    try:
        found = dict(tracing._provider.resource.attributes)
        assert (found["service.name"], found["service.version"]) == ("mine", "1.2.3")
    finally:
        tracing.close()
