"""How many records have passed through the services of this repository that run in the sandbox.

The numbers are those of the services' own metrics: what was acknowledged to the sources, filtered by the
transforms and written by the sinks; and the dead letters of the routers.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from etl_operator.sandbox.kubelet import ROUTER_IMAGE, SERVICE_IMAGE, ImageTable
from etl_operator.sandbox.loops import pods as p
from etl_operator.sandbox.loops.kinds import POD
from informers.client import Client
from informers.errors import RuntimeFault
from informers.objects import Object

_EVERY = 0.25
_SECONDS = 2.0
"""Seconds a service has to show its metrics."""
_SAMPLE = re.compile(r"^(?P<name>\w+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$", re.MULTILINE)
_UNANSWERED = re.compile(
    r"^etl_router_stage_(?:broken|unanswered_calls_total)"
    r'\{pipeline="(?P<pipeline>[^"]*)",stage="(?P<stage>[^"]*)"\} [1-9]',
    re.MULTILINE,
)
_RESULT = re.compile(r'result="(\w+)"')
_IMAGES = ImageTable.default()
_STORED = "etl_router_pipeline_stored_records"
_LETTERS = ("etl_router_pipeline_dead_letters_total", "etl_router_pipeline_parked_records")


@dataclass(frozen=True, slots=True)
class Service:
    """A Deployment of ``etl-service``: its pods, and what its command line says."""

    namespace: str
    name: str
    selector: Mapping[str, Any]
    container: str
    arguments: tuple[str, ...]

    @property
    def count(self) -> int:
        """Records that a generating source makes, 0 if it does not say so."""
        if self.arguments[:2] != ("source", "generate"):
            return 0
        found = next((one for one in self.arguments if one.startswith("--count=")), "--count=0")
        number = found.partition("=")[2]
        return int(number) if number.isdecimal() else 0

    @property
    def output(self) -> str:
        """The file that a sink writes, as a path in its container; "" if it writes none."""
        if self.arguments[:2] != ("sink", "file"):
            return ""
        return next((one for one in self.arguments[2:] if not one.startswith("-")), "")


@dataclass(frozen=True, slots=True)
class Counts:
    """Records so far."""

    came: int = 0
    filtered: int = 0
    dead_lettered: int = 0
    written: int = 0
    stored: int = 0
    """In a durable buffer, on their way from sources to sinks; part of ``came``."""


def services_in(objects: Sequence[Object]) -> list[Service]:
    """The services among objects that are about to be applied."""
    return [one for obj in objects if obj["kind"] == "Deployment" for one in _services_of(obj)]


def _services_of(deployment: Object) -> Iterator[Service]:
    spec, meta = deployment.get("spec") or {}, deployment["metadata"]
    for container in ((spec.get("template") or {}).get("spec") or {}).get("containers") or ():
        if _is(container, SERVICE_IMAGE) and not container.get("command"):
            arguments = tuple(str(one) for one in container.get("args") or ())
            namespace = str(meta.get("namespace") or "default")
            yield Service(
                namespace, str(meta["name"]), spec.get("selector") or {}, str(container["name"]), arguments
            )


def _is(container: Mapping[str, Any], pattern: str) -> bool:
    image = _IMAGES.find(str(container.get("image") or ""))
    return image is not None and image.pattern == pattern


class Flow:
    """Counts until every record of the generating sources has come.

    :param services: as :func:`services_in` finds them.
    :param elapsed: seconds, for the rate.
    """

    def __init__(self, client: Client, services: Sequence[Service], elapsed: Callable[[], float]) -> None:
        self._client = client
        self._services = services
        self._elapsed = elapsed
        self._began = 0.0
        self._took = 0.0
        self.expected = sum(one.count for one in services)
        self.counts = Counts()
        self.done = asyncio.Event()

    @property
    def rate(self) -> float:
        """Records a second, from the first one to the last."""
        return self.counts.came / self._took if self._took else 0.0

    async def run(self, changed: Callable[[], None]) -> None:
        """Look again and again until all have come.

        :param changed: called when the counts are others than before.
        """
        async with _session() as session:
            while not self.done.is_set():
                try:
                    counts, resumed = await self._look(session)
                    if counts.came >= self.expected:
                        # All pages are read at once: a sink's may be older than the source's.
                        counts, resumed = await self._look(session)
                except RuntimeFault:
                    # The control plane is asked again, as the services are.
                    counts, resumed = self.counts, False
                now = self._elapsed()
                if not counts.came:
                    self._began = now
                self._took = now - self._began
                is_new, self.counts = counts != self.counts, counts
                if (counts.came >= self.expected and not counts.stored) or resumed:
                    self.done.set()
                if is_new or self.done.is_set():
                    changed()
                await asyncio.sleep(_EVERY)
        # The end of this part would be taken for a failure.
        await asyncio.Event().wait()

    async def unanswered(self) -> list[str]:
        """Stages whose services did not answer calls of a router, as ``stage X of pipeline Y``."""
        found: set[str] = set()
        async with _session() as session:
            for namespace in sorted({one.namespace for one in self._services}):
                for pod in await self._list(namespace):
                    found |= set(unanswered_in(await _page(session, pod)))
        return sorted(found)

    async def pods(self, kind: str) -> list[tuple[Service, Object]]:
        """The pods of the sources (``source``) or sinks (``sink``)."""
        found = []
        for one in self._services:
            if one.arguments[:1] == (kind,):
                found += [(one, pod) for pod in await self._list(one.namespace) if _belongs(pod, one)]
        return found

    async def _list(self, namespace: str) -> list[Object]:
        return (await self._client.list(POD, namespace=namespace)).items

    async def _look(self, session: aiohttp.ClientSession) -> tuple[Counts, bool]:
        """The counts, and whether a source goes on where an earlier run of it was."""
        results: dict[str, int] = {}
        resumed = False
        sources = [one for one in self._services if one.count]
        for namespace in sorted({one.namespace for one in self._services}):
            pods = [pod for pod in await self._list(namespace) if p.is_healthy(pod)]
            for pod, samples in zip(pods, await _all_metrics(session, pods), strict=True):
                for name, value in samples:
                    results[name] = results.get(name, 0) + value
                if samples and any(_belongs(pod, one) for one in sources):
                    resumed |= any(one.get("restartCount") for one in pod["status"]["containerStatuses"])
        counts = Counts(
            came=results.get("accepted", 0) + results.get("duplicate", 0) + results.get("rejected", 0),
            filtered=results.get("filtered", 0),
            dead_lettered=sum(results.get(name, 0) for name in _LETTERS),
            written=results.get("written", 0),
            stored=results.get(_STORED, 0),
        )
        return counts, resumed


def _belongs(pod: Object, service: Service) -> bool:
    return p.matches(service.selector, pod["metadata"].get("labels") or {})


async def _all_metrics(session: aiohttp.ClientSession, pods: Sequence[Object]) -> list[list[tuple[str, int]]]:
    return list(await asyncio.gather(*(_metrics(session, pod) for pod in pods)))


async def _metrics(session: aiohttp.ClientSession, pod: Object) -> list[tuple[str, int]]:
    return list(samples_in(await _page(session, pod)))


async def _page(session: aiohttp.ClientSession, pod: Object) -> str:
    """The metrics of a router or service; "" from one that does not answer, and from other pods."""
    port = next(
        (
            one["containerPort"]
            for container in pod["spec"]["containers"]
            if _is(container, SERVICE_IMAGE) or _is(container, ROUTER_IMAGE)
            for one in container.get("ports") or ()
            if one.get("name") == "metrics"
        ),
        None,
    )
    address = p.status_of(pod).get("podIP")
    if port is None or not address:
        return ""
    try:
        async with session.get(f"http://{address}:{port}/metrics") as answer:
            return await answer.text()
    except (aiohttp.ClientError, OSError, TimeoutError):
        return ""


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_SECONDS), trust_env=False)


def unanswered_in(text: str) -> Iterator[str]:
    """The stages with unanswered calls, of a router's page of metrics."""
    for match in _UNANSWERED.finditer(text):
        yield f"stage {match['stage']} of pipeline {match['pipeline']}"


def samples_in(text: str) -> Iterator[tuple[str, int]]:
    """The samples of a page of metrics that count here: the result, or the metric's name, and the value."""
    for match in _SAMPLE.finditer(text):
        if match["name"] == "etl_service_records_total" and (result := _RESULT.search(match["labels"] or "")):
            yield result[1], int(float(match["value"]))
        elif match["name"] in _LETTERS or match["name"] == _STORED:
            yield match["name"], int(float(match["value"]))


def kept_copy(kubeconfig: Path, service: Service) -> Path:
    """Where the output of a sink is kept when its volume is deleted at the end: beside the kubeconfig."""
    return kubeconfig.absolute().with_name(f"{kubeconfig.stem}.{service.name}.jsonl")
