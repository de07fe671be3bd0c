"""The operator's own series: few, of one form, and gone with what they are about."""

from __future__ import annotations

import platform
import re
from collections import Counter
from pathlib import Path
from typing import Any, cast

import yaml
from prometheus_client.parser import text_string_to_metric_families

import controllers
from controllers.wiring.metrics import ControllerMetrics, RpcMetrics, build_info
from controllers.wiring.settings import ControllerSettings
from etl_operator.api import CLUSTER, SOURCE
from etl_operator.api.crds import render_crds
from informers.metrics import Metrics
from informers.objects import ObjectKey
from informers.testing.simulation import Simulation, simulate
from tests.controllers.routers import KeeperDouble, Routers
from tests.controllers.status.test_statuses import made

KEY = ObjectKey("default", "x")
METHODS = ("GetClusterStatus", "GetPipeline", "CreatePipeline", "Register", "Deregister", "Heartbeat")
Series = tuple[str, dict[str, str]]


def scraped(metrics: Metrics) -> list[Series]:
    """Every sample of the product's own series."""
    families = text_string_to_metric_families(metrics.render().decode())
    samples = [sample for family in families for sample in family.samples]
    return [
        (one.name, one.labels) for one in samples if one.name.startswith(("etl_operator_", "etl_router_"))
    ]


def about(series: list[Series], name: str) -> list[Series]:
    return [one for one in series if one[1].get("name") == name]


def test_series_are_named_alike_and_go_with_their_object() -> None:
    async def main(world: Simulation) -> None:
        manager, routers = world.manager(), Routers()
        controllers.setup(manager, ControllerSettings(), cast(Any, routers), cast(Any, KeeperDouble(routers)))
        rpcs = RpcMetrics(manager.metrics)
        async with world.running(manager):
            await world.create(made(CLUSTER, {"replicas": 1}))
            await world.create(made(SOURCE, {"grpc": {"endpoint": "host:1"}}))
            await world.sleep(60)
            for method in METHODS:
                rpcs.observe("default/x", method, "OK", 0.01)
                rpcs.observe("default/x", method, "UNAVAILABLE", 0.01)
            series = scraped(manager.metrics)
            assert len(about(series, "x")) >= 8 + 2 * len(METHODS)
            assert all(labels["namespace"] == "default" for _, labels in about(series, "x"))
            assert not [labels for _, labels in series if "cluster" in labels]
            assert not [labels for _, labels in series if any("/" in value for value in labels.values())]
            world.server.delete(CLUSTER, KEY)
            world.server.delete(SOURCE, KEY)
            await world.until(lambda: world.server.find(SOURCE, KEY) is None)
            await world.sleep(60)
            # A call to a member that is going ends after the cluster.
            rpcs.observe("default/x", "Deregister", "UNAVAILABLE", 5.0)
            assert about(scraped(manager.metrics), "x") == []

    simulate(main, *(yaml.safe_load(text) for text in render_crds().values()))


def test_the_page_lists_every_series() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "api.md").read_text(encoding="utf-8")
    section = page.partition("\n## Metrics\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| .+ \|$", section, re.MULTILINE)
    metrics = Metrics(process=False)
    ControllerMetrics(metrics)
    RpcMetrics(metrics)
    build_info(metrics, "1", "")
    families = {family.name: family.type for family in metrics.collect()}
    named = {f"{name}_total" if kind == "counter" else name: kind for name, kind in families.items()}
    assert dict(rows) == named


def test_calls_to_another_cluster_cost_a_series_for_each_method_and_code() -> None:
    metrics = Metrics(process=False)
    rpcs = RpcMetrics(metrics)
    sizes = []
    for number in range(3):
        for method in METHODS:
            rpcs.observe(f"etl/c{number}", method, "OK", 0.01)
        sizes.append(Counter(name.rpartition("_")[2] for name, _ in scraped(metrics)))
    assert sizes[1]["bucket"] == sizes[2]["bucket"] == 8 * len(METHODS)
    assert sizes[2]["total"] - sizes[1]["total"] == len(METHODS)


def test_the_build_is_told() -> None:
    metrics = Metrics(process=False)
    build_info(metrics, "1.2.3", "abc")
    assert scraped(metrics) == [
        (
            "etl_operator_build_info",
            {"version": "1.2.3", "revision": "abc", "python": platform.python_version()},
        )
    ]
