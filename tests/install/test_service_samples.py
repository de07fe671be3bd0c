"""config/samples/services: valid, restricted, and what the samples of config/samples name."""

from __future__ import annotations

import re
from typing import Any

import click
import pytest

from etl_operator.sandbox.manifests import load_manifests
from etl_operator.services.main import main
from etl_operator.services.transforms import FilterTransform, MapTransform
from informers.apiserver.admission.pod_standards import findings
from informers.objects import Object
from tests.install.manifests import CONFIG, container_of, only, problems

SAMPLES = load_manifests(CONFIG / "samples")
SERVICES = load_manifests(CONFIG / "samples" / "services")
DEPLOYMENTS = [obj for obj in SERVICES if obj["kind"] == "Deployment"]


def parsed(deployment: Object) -> tuple[str, dict[str, Any]]:
    """The command of a container and its options, as click reads them."""
    arguments = [
        re.sub(r"\$\(POD_IP\)", "10.0.0.1", argument) for argument in container_of(deployment)["args"]
    ]
    group: Any = main
    while isinstance(group, click.Group):
        name, *arguments = arguments
        group = group.commands[name]
    return f"{group.callback.__name__}", dict(group.make_context(name, arguments).params)


@pytest.mark.parametrize("obj", SERVICES, ids=lambda obj: f"{obj['kind']}-{obj['metadata']['name']}")
def test_every_object_is_valid(obj: Object) -> None:
    assert problems(obj) == []


def test_every_service_of_the_samples_has_a_deployment_and_a_service() -> None:
    described = [obj for obj in SAMPLES if obj["kind"] in ("EtlSource", "EtlTransform", "EtlSink")]
    assert len(described) == len(DEPLOYMENTS) == 4
    for obj in described:
        host, _, port = obj["spec"]["grpc"]["endpoint"].partition(":")
        service = only(SERVICES, "Service", host)
        deployment = only(SERVICES, "Deployment", obj["metadata"]["name"])
        template = deployment["spec"]["template"]
        selector = service["spec"]["selector"]
        assert selector == deployment["spec"]["selector"]["matchLabels"]
        assert selector.items() <= template["metadata"]["labels"].items()
        ports = {one["port"]: one["targetPort"] for one in service["spec"]["ports"]}
        _, options = parsed(deployment)
        assert options["bind"] == ("10.0.0.1", ports[int(port)])
        named = {one["name"]: one["containerPort"] for one in container_of(deployment)["ports"]}
        assert named == {
            "grpc": options["bind"][1],
            "health": options["health_port"],
            "metrics": options["metrics_port"],
        }


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda obj: obj["metadata"]["name"])
def test_pods_are_restricted_and_end_in_time(deployment: Object) -> None:
    template = deployment["spec"]["template"]
    assert findings("restricted", template["metadata"], template["spec"]) == []
    assert template["spec"]["automountServiceAccountToken"] is False
    _, options = parsed(deployment)
    assert options["grace_seconds"] < template["spec"]["terminationGracePeriodSeconds"]
    assert container_of(deployment)["image"] == "etl-service:latest"


def test_the_source_is_that_of_the_pipeline_and_stays() -> None:
    command, options = parsed(only(SERVICES, "Deployment", "kafka-users"))
    assert command == "generate"
    assert options["source_id"] == only(SAMPLES, "EtlPipeline", "user-analytics")["spec"]["source"]
    assert options["routers"] == (
        f"{only(SAMPLES, 'EtlRouterCluster', 'my-cluster')['metadata']['name']}:50051",
    )
    assert options["stay"] is True
    assert options["count"] == 10_000


def test_the_expressions_compile() -> None:
    FilterTransform(parsed(only(SERVICES, "Deployment", "filter-active"))[1]["where"])
    MapTransform(parsed(only(SERVICES, "Deployment", "enrich-geo"))[1]["assignments"])


def test_what_has_one_writer_is_not_rolled_over() -> None:
    for name in ("kafka-users", "clickhouse-analytics"):
        deployment = only(SERVICES, "Deployment", name)
        assert deployment["spec"]["strategy"] == {"type": "Recreate"}
        assert deployment["spec"]["replicas"] == 1
