"""Spans, where OpenTelemetry is installed (``pip install '.[tracing]'`` in a clone) and wanted.

Nothing here imports it before :func:`open_tracing` is called. Where spans go, which are kept and what the
service is called is for the standard ``OTEL_*`` environment variables to say.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

from informers.client.transport import HttpRequest, HttpResponse, HttpStream, Transport
from informers.errors import ConfigError
from informers.queue import Work

_LIBRARY = "informers"
_NEEDS = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")


class Tracing:
    """Makes spans.

    :param provider: an OpenTelemetry ``TracerProvider``.
    """

    def __init__(self, provider: Any) -> None:
        from opentelemetry import trace

        self._trace = trace
        self._provider = provider
        self._tracer = provider.get_tracer(_LIBRARY)

    @contextmanager
    def reconcile(self, controller: str, work: Work, name: str) -> Iterator[None]:
        """A span around one reconcile; an exception marks it as failed and continues.

        :param name: what log lines call this reconcile; see :attr:`informers.controller.Reconcile.id`.
        """
        attributes: dict[str, Any] = {
            "controller": controller,
            "k8s.namespace.name": work.key.namespace,
            "k8s.object.name": work.key.name,
            "reconcile.causes": work.causes,
            "reconcile.failures": work.failures,
            "reconcile.id": name,
        }
        with self._tracer.start_as_current_span(f"reconcile {controller}", attributes=attributes):
            yield

    @contextmanager
    def request(self, request: HttpRequest) -> Iterator[Any]:
        """A span around one request to the API server."""
        attributes = {"http.request.method": request.method, "url.path": request.path}
        kind = self._trace.SpanKind.CLIENT
        with self._tracer.start_as_current_span(request.method, kind=kind, attributes=attributes) as span:
            yield span

    def answered(self, span: Any, status: int) -> None:
        """Note the answer to a request."""
        span.set_attribute("http.response.status_code", status)
        if status >= 400:
            span.set_status(self._trace.Status(self._trace.StatusCode.ERROR))

    def past(self, name: str, seconds: float, attributes: Mapping[str, str], *, failed: bool) -> None:
        """A client span that ends now and began so many seconds ago, below the span that is open."""
        now = time.time_ns()
        span = self._tracer.start_span(
            name,
            kind=self._trace.SpanKind.CLIENT,
            attributes=dict(attributes),
            start_time=now - int(seconds * 1e9),
        )
        if failed:
            span.set_status(self._trace.Status(self._trace.StatusCode.ERROR))
        span.end(end_time=now)

    def close(self) -> None:
        """Send what is left; blocks, for a few seconds at most."""
        self._provider.shutdown()


def open_tracing(service: str, version: str) -> Tracing:
    """Tracing that exports over OTLP/HTTP.

    :param service: ``service.name``, unless ``OTEL_SERVICE_NAME`` says otherwise.
    :raises ConfigError: when the packages are not installed.
    """
    missing = [name for name in _NEEDS if not _installed(name)]
    if missing:
        raise ConfigError(
            f"tracing needs {' and '.join(missing)}; run pip install '.[tracing]' in a clone of "
            "etl-operator, or remove --tracing"
        )
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    ours = Resource.create({"service.name": service, "service.version": version})
    # What the environment says wins.
    provider = TracerProvider(resource=ours.merge(OTELResourceDetector().detect()))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider)


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


class TracedTransport:
    """A transport that makes a span of every request; of a stream, until it was answered.

    :param transport: the one that does the work.
    """

    def __init__(self, transport: Transport, tracing: Tracing) -> None:
        self._transport = transport
        self._tracing = tracing
        self.host = str(getattr(transport, "host", ""))

    async def request(self, request: HttpRequest) -> HttpResponse:
        """Send and read the whole answer."""
        with self._tracing.request(request) as span:
            response = await self._transport.request(request)
            self._tracing.answered(span, response.status)
        return response

    def stream(self, request: HttpRequest) -> AbstractAsyncContextManager[HttpStream]:
        """Send and hand out the body as a stream."""
        return self._traced(request)

    @asynccontextmanager
    async def _traced(self, request: HttpRequest) -> AsyncIterator[HttpStream]:
        async with AsyncExitStack() as opened:
            with self._tracing.request(request) as span:
                stream = await opened.enter_async_context(self._transport.stream(request))
                self._tracing.answered(span, stream.status)
            yield stream

    async def close(self) -> None:
        """Close pooled connections."""
        await self._transport.close()
