"""Offline validation: the field, and a sentence a person can act on. The server must agree each time."""

from __future__ import annotations

from types import NoneType
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from etl_operator.api import CLUSTER, PIPELINE, SINK, SOURCE, TRANSFORM, EtlSource
from etl_operator.api.base import Model
from etl_operator.api.crds import KINDS, Kind
from etl_operator.api.validation import validate
from informers.objects import Object, Resource
from tests.api.server import admitted

GRPC = {"grpc": {"endpoint": "svc:50051"}}
ENDS = {"source": "a", "sink": "b"}


def manifest(resource: Resource, spec: Any, name: str = "prod") -> Object:
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {"name": name},
        "spec": spec,
    }


def _nats(**fields: Any) -> dict[str, Any]:
    return {"buffer": {"type": "Nats", "nats": {"urls": ["nats://a:4222"], **fields}}}


BROKEN = [
    (CLUSTER, {"replicas": 0}, "spec.replicas", "greater than or equal to 1"),
    (CLUSTER, {"replicas": 16}, "spec.replicas", "less than or equal to 15"),
    (CLUSTER, {"replicas": "3"}, "spec.replicas", "integer"),
    (CLUSTER, {"replicas": True}, "spec.replicas", "integer"),
    (CLUSTER, {"raft": {"electionTimeoutMs": 199}}, "spec.raft", "twice heartbeatIntervalMs"),
    (CLUSTER, {"storage": {"size": "ten"}}, "spec.storage.size", "not a quantity"),
    (CLUSTER, {"storage": {"size": "0Gi"}}, "spec.storage", "greater than zero"),
    (CLUSTER, {"resources": {"limits": {"cpu": "-1"}}}, "spec.resources.limits.cpu", "not a quantity"),
    (CLUSTER, {"service": {"grpcPort": 8080}}, "spec.service", "must differ"),
    (CLUSTER, {"buffer": {"type": "Nats"}}, "spec.buffer", "nats is required"),
    (CLUSTER, {"buffer": {"nats": {"urls": ["nats://a"]}}}, "spec.buffer", "not allowed with type Memory"),
    (CLUSTER, _nats(replicas=1), "spec.buffer.nats", "replicas must be at least 3, or syncAlways true"),
    (CLUSTER, _nats(urls=[]), "spec.buffer.nats.urls", "at least 1 item"),
    (CLUSTER, _nats(urls=["nats://me:secret@a"]), "spec.buffer.nats.urls[0]", "match pattern"),
    (CLUSTER, _nats(maxBytes=1), "spec.buffer.nats.maxBytes", "greater than or equal to 1048576"),
    (CLUSTER, {"metrics": {"port": 50051}}, "spec", "metrics.port must differ"),
    (CLUSTER, {"service": {"type": "ExternalName"}}, "spec.service.type", "ClusterIP"),
    (CLUSTER, {"updateStrategy": "RollingUpdate"}, "spec.updateStrategy", "QuorumAware"),
    (CLUSTER, {"env": [{"name": "A"}, {"name": "A"}]}, "spec.env", "duplicate"),
    (CLUSTER, {"env": [{"value": "x"}]}, "spec.env[0].name", "required"),
    (
        CLUSTER,
        {"env": [{"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "f"}}}]},
        "spec.env[0]",
        "exclude each other",
    ),
    (CLUSTER, {"allowedNamespaces": ["team", "team"]}, "spec.allowedNamespaces", "duplicate"),
    (CLUSTER, {"podLabels": {"a": "not a label"}}, "spec.podLabels.a", "pattern"),
    (
        CLUSTER,
        {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{}]}}},
        "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey",
        "required",
    ),
    (PIPELINE, {"sink": "b"}, "spec.source", "required"),
    (PIPELINE, {**ENDS, "steps": ["x", "x"]}, "spec.steps", "twice"),
    (PIPELINE, {**ENDS, "steps": [f"s{i}" for i in range(65)]}, "spec.steps", "64"),
    (PIPELINE, {**ENDS, "steps": ["Upper"]}, "spec.steps[0]", "pattern"),
    (PIPELINE, {**ENDS, "dlq": {"maxRetries": 1001}}, "spec.dlq.maxRetries", "1000"),
    (PIPELINE, {**ENDS, "dlq": {"retryBackoffMs": 30_001}}, "spec.dlq", "must not exceed"),
    (PIPELINE, {**ENDS, "clusterRef": {"namespace": "x"}}, "spec.clusterRef.name", "required"),
    (SOURCE, {}, "spec.grpc", "required"),
    (SOURCE, {"grpc": {"endpoint": "no-port"}}, "spec.grpc.endpoint", "the port is missing: write host:port"),
    (SOURCE, {"grpc": {"endpoint": "svc:http"}}, "spec.grpc.endpoint", "the port is missing"),
    (SOURCE, {"grpc": {"endpoint": "svc:80\n"}}, "spec.grpc.endpoint", "the port is missing"),
    (SOURCE, {"grpc": {"endpoint": "svc:65536"}}, "spec.grpc.endpoint", "must be host:port"),
    (SOURCE, {"grpc": {"endpoint": "svc:0"}}, "spec.grpc.endpoint", "must be host:port"),
    (SOURCE, {"grpc": {"endpoint": "fd00::7:80"}}, "spec.grpc.endpoint", "IPv6 address in brackets"),
    (SOURCE, {"grpc": {"endpoint": "http://svc:80"}}, "spec.grpc.endpoint", "must be host:port"),
    (TRANSFORM, {**GRPC, "weight": 0}, "spec.weight", "greater than or equal to 1"),
    (SINK, {**GRPC, "config": ["a"]}, "spec.config", "dictionary"),
]


@pytest.mark.parametrize(("resource", "spec", "field", "words"), BROKEN)
def test_a_broken_spec_is_named_by_field(resource: Resource, spec: Any, field: str, words: str) -> None:
    (problem,) = validate(manifest(resource, spec))
    assert problem.field == field
    assert words in problem.message
    # Behind it a server may say that it left rules out, or that a rule of the value around it is broken too.
    cause, *rest = admitted(resource, manifest(resource, spec))[1]
    assert cause.startswith(field)
    assert all("not checked" in other or field.startswith(other.partition(":")[0]) for other in rest), rest


@pytest.mark.parametrize(
    "endpoint", ["svc:1", "svc.ns.svc.cluster.local:50051", "10.0.0.1:65535", "[fd00::1]:443", "a_b:50051"]
)
def test_good_endpoints(endpoint: str) -> None:
    assert validate(manifest(SOURCE, {"grpc": {"endpoint": endpoint}})) == []


def test_everything_wrong_is_told_at_once() -> None:
    problems = validate(manifest(CLUSTER, {"replicas": 0, "image": "", "nonsense": 1}))
    assert {problem.field for problem in problems} == {"spec.replicas", "spec.image", "spec.nonsense"}


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"storage": {"storageClass": "fast"}}, "spec.storage.storageClass"),
        ({"env": [{"name": "A", "val": "x"}]}, "spec.env[0].val"),
        ({"election_timeout_ms": 5}, "spec.election_timeout_ms"),
    ],
)
def test_an_unknown_field_is_a_problem_as_for_kubectl(spec: Any, field: str) -> None:
    (problem,) = validate(manifest(CLUSTER, spec))
    assert str(problem) == f"{field}: unknown field"


def test_a_free_form_object_has_no_unknown_fields() -> None:
    assert validate(manifest(SINK, {**GRPC, "config": {"any": {"thing": [None]}}})) == []


def test_a_null_is_an_absent_field() -> None:
    assert validate(manifest(CLUSTER, {"raft": None, "podLabels": {"a": None}})) == []
    (problem,) = validate(manifest(SOURCE, None))
    assert problem.field == "spec"


def models(part: Any) -> set[type[Model]]:
    """The models a type is made of, and all below them."""
    if isinstance(part, type) and issubclass(part, Model):
        return {part}.union(*(models(field.annotation) for field in part.model_fields.values()))
    return set().union(*map(models, get_args(part)))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.resource.kind)
def test_a_null_that_is_accepted_says_the_same_as_no_entry(kind: Kind) -> None:
    for model in models(kind.model):
        for name, field in model.model_fields.items():
            if NoneType in get_args(field.annotation):
                assert field.default is None, f"{model.__name__}.{name}"


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(ValidationError, match="Invalid JSON"):
        EtlSource.model_validate_json(b'{"kind": ')


@pytest.mark.parametrize(
    ("name", "words"), [("a" * 46, "45 characters"), ("1a", "start with a letter"), ("a.b", "no dots")]
)
def test_a_clusters_name_must_fit_what_is_named_after_it(name: str, words: str) -> None:
    (problem,) = validate(manifest(CLUSTER, {}, name))
    assert problem.field == ""
    assert words in str(problem)
    assert admitted(CLUSTER, manifest(CLUSTER, {}, name))[1]
    assert validate(manifest(SOURCE, GRPC, name)) == []


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ({"storageClassName": "a"}, {"storageClassName": "b"}, "cannot be changed"),
        ({"storageClassName": "a"}, {}, "cannot be changed"),
        ({}, {"storageClassName": "a"}, "cannot be changed"),
        ({}, {"size": "9Gi"}, "do not shrink"),
        ({"size": "1.5Ti"}, {"size": "1Ti"}, "do not shrink"),
    ],
)
def test_what_must_not_change(before: Any, after: Any, words: str) -> None:
    old, new = (manifest(CLUSTER, {"storage": storage}) for storage in (before, after))
    (problem,) = validate(new, old)
    assert problem.field == "spec.storage"
    assert words in problem.message
    (cause,) = admitted(CLUSTER, new, old)[1]
    assert words in cause
    assert validate(new) == validate(old) == []


def test_members_on_different_raft_ports_could_not_meet() -> None:
    old, new = (manifest(CLUSTER, {"service": service}) for service in ({}, {"raftPort": 6000}))
    (problem,) = validate(new, old)
    assert (problem.field, "cannot be changed" in problem.message) == ("spec.service", True)
    (cause,) = admitted(CLUSTER, new, old)[1]
    assert "cannot be changed" in cause
    grpc = manifest(CLUSTER, {"service": {"grpcPort": 6001}})
    assert validate(grpc, old) == []
    assert admitted(CLUSTER, grpc, old)[1] == []


def test_volumes_may_grow() -> None:
    old, new = (manifest(CLUSTER, {"storage": {"size": size}}) for size in ("10Gi", "20Gi"))
    assert validate(new, old) == []
    assert admitted(CLUSTER, new, old)[1] == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"apiVersion": "etl.router/v2"}, "apiVersion"),
        ({"kind": "EtlThing"}, "kind"),
        ({"metadata": {}}, "metadata.name"),
        ({"metadata": {"name": "No_Name"}}, "metadata.name"),
    ],
)
def test_what_is_no_object_of_ours(change: Object, field: str) -> None:
    (problem,) = validate(manifest(SOURCE, GRPC) | change)
    assert problem.field == field
