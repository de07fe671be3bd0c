"""Probes of endpoints: verdicts, metrics, and what they change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from controllers.pipeline.reconciler import PipelineReconciler
from controllers.service.health import EndpointHealth
from controllers.service.prober import ProbeReconciler
from controllers.service.reconciler import ServiceReconciler
from controllers.wiring.metrics import ControllerMetrics
from etl_operator.api import PIPELINE, SINK, SOURCE
from etl_operator.router.registry import Health
from informers.metrics import Metrics
from informers.objects import ObjectKey, Resource
from tests.controllers.service.running import KEY, NAME, Running
from tests.controllers.store import NAMESPACE


class Probed(Running):
    """A source whose endpoint is probed, with the answers of a test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **spec: Any) -> None:
        super().__init__(healthCheck={"enabled": True, "intervalSeconds": 10}, **spec)
        self.answer = Health(True, "SERVING")
        self.asked: list[Any] = []

        async def probed(*target: Any) -> Health:
            self.asked.append(target)
            return self.answer

        monkeypatch.setattr("controllers.service.prober.probe", probed)
        self.turns = 0
        self.restart()

    def restart(self) -> None:
        """Another process takes over."""
        health = EndpointHealth()
        self.reconciler = ServiceReconciler(self.world.context, SOURCE, health)
        self.prober = ProbeReconciler(self.world.context, health, self._turned)

    def _turned(self, resource: Resource, key: ObjectKey) -> None:
        assert (resource, key) == (SOURCE, KEY)
        self.turns += 1

    async def probe(self, healthy: bool, message: str = "") -> float | None:
        """One probe, and what the service's own controller makes of it if it is told."""
        self.answer = Health(healthy, message or ("SERVING" if healthy else "NOT_SERVING"))
        before = self.turns
        again = (await self.prober.reconcile(KEY)).requeue_after
        if self.turns > before:
            await self.once()
        return again


async def test_an_endpoint_is_unhealthy_after_three_strikes(monkeypatch: pytest.MonkeyPatch) -> None:
    running = Probed(monkeypatch)
    await running.once()
    assert running.condition("Ready")["reason"] == "Progressing", "nothing is claimed before the first probe"
    assert running.world.keeper.health["etl/kafka"] is None
    await running.probe(True)
    assert running.condition("Ready")["status"] == running.condition("EndpointHealthy")["status"] == "True"
    assert running.world.keeper.health["etl/kafka"] == Health(True, "SERVING")
    for _ in range(2):
        await running.probe(False)
        await running.probe(False, "no connection within 3 s")
        await running.probe(True)
    assert running.turns == 1
    await running.probe(False, "one")
    await running.probe(False, "two")
    await running.probe(False, "three")
    assert running.condition("Ready")["message"] == running.condition("EndpointHealthy")["message"] == "three"
    assert running.condition("Registered")["status"] == "True"
    assert running.status["health"] == "Unhealthy"
    assert running.world.keeper.health["etl/kafka"] == Health(False, "three")
    await running.probe(True)
    assert running.condition("Ready")["status"] == "True"
    running.store.edit(SOURCE, NAME, {"spec": {"healthCheck": {"enabled": False}}})
    assert await running.probe(True) is None
    await running.once()
    assert running.condition("EndpointHealthy") == {}
    assert running.condition("Ready")["status"] == "True"
    assert running.status["health"] == "Unknown"
    assert running.world.keeper.health["etl/kafka"] is None


async def test_an_endpoint_that_was_never_healthy_has_no_strikes(monkeypatch: pytest.MonkeyPatch) -> None:
    running = Probed(monkeypatch)
    await running.probe(False)
    assert running.condition("Ready")["reason"] == "ProbeFailed"


async def test_a_text_that_changes_with_every_probe_is_no_write(monkeypatch: pytest.MonkeyPatch) -> None:
    running = Probed(monkeypatch)
    await running.probe(False, "refused")
    running.store.writes.clear()
    for number in range(100):
        await running.probe(False, "no route" if number % 2 else "no connection")
    assert running.store.writes == []
    for _ in range(3):
        await running.probe(False, "no route")
    assert running.condition("EndpointHealthy")["message"] == "no route"


async def test_a_new_process_goes_on_with_the_verdict_before(monkeypatch: pytest.MonkeyPatch) -> None:
    running = Probed(monkeypatch)
    await running.probe(True)
    running.restart()
    running.store.writes.clear()
    await running.once()
    await running.probe(False)
    assert running.store.writes == []
    assert running.condition("Ready")["status"] == "True"
    running.store.edit(SOURCE, NAME, {"spec": {"grpc": {"endpoint": "elsewhere:1"}}})
    await running.once()
    assert running.condition("Ready")["reason"] == "Progressing", "of the new endpoint nothing is known"
    await running.probe(False)
    assert running.condition("Ready")["reason"] == "ProbeFailed"


async def test_probes_mean_the_host_of_the_objects_namespace_and_part_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running = Probed(monkeypatch)
    pauses = {await running.probe(True) for _ in range(50)}
    assert running.asked[0][0][0] == "kafka-svc.etl.svc.cluster.local"
    assert len(pauses) > 10
    assert all(pause is not None and 9 <= pause <= 11 for pause in pauses)


async def test_a_probe_that_ends_after_its_object_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    running = Probed(monkeypatch)

    async def slow(*_: Any) -> Health:
        running.store.remove(SOURCE, NAME)
        return Health(True, "SERVING")

    monkeypatch.setattr("controllers.service.prober.probe", slow)
    assert (await running.prober.reconcile(KEY)).requeue_after is None
    assert running.turns == 0


async def test_the_series_of_an_endpoint_ends_with_its_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    running, metrics = Probed(monkeypatch), Metrics(process=False)
    context = replace(running.world.context, metrics=ControllerMetrics(metrics))
    prober = ProbeReconciler(context, EndpointHealth(), lambda *_: None)
    await prober.reconcile(KEY)
    assert 'etl_operator_endpoint_healthy{kind="EtlSource",name="kafka",namespace="etl"} 1.0' in shown(
        metrics
    )
    running.store.remove(SOURCE, NAME)
    await prober.reconcile(KEY)
    assert not [line for line in shown(metrics) if "kafka" in line]


def shown(metrics: Metrics) -> list[str]:
    return metrics.render().decode().splitlines()


async def test_a_pipeline_says_which_service_is_unhealthy(monkeypatch: pytest.MonkeyPatch) -> None:
    running = Probed(monkeypatch)
    running.add(SINK, "out")
    running.store.put(PIPELINE, "p", {"source": NAME, "sink": "out", "enabled": True})
    await running.probe(True)
    await ServiceReconciler(running.world.context, SINK).reconcile(ObjectKey(NAMESPACE, "out"))
    pipeline, key = PipelineReconciler(running.world.context), ObjectKey(NAMESPACE, "p")
    await pipeline.reconcile(key)
    assert running.condition("Degraded", PIPELINE, "p") == {}
    for _ in range(3):
        await running.probe(False)
    await pipeline.reconcile(key)
    assert "EtlSource kafka (ProbeFailed)" in running.condition("Degraded", PIPELINE, "p")["message"]
    assert running.condition("Ready", PIPELINE, "p")["status"] == "True"
