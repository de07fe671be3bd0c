"""EndpointSlices, disruption budgets and claims, from values to values."""

from __future__ import annotations

from typing import Any

import pytest

from etl_operator.sandbox.loops import pods as p
from etl_operator.sandbox.loops.claims import bound_status, default_class, spec_patch, used
from etl_operator.sandbox.loops.disruption import budget_status
from etl_operator.sandbox.loops.endpoints import endpoint_slice
from informers.objects import Object
from tests.sandbox.loops.objects import UID, claim_of, pod_of, stateful_set

NOW = "2027-01-01T00:00:00Z"


def service(**spec: Any) -> Object:
    return {
        "metadata": {"name": "db-headless", "namespace": "ns", "uid": "service-uid", "labels": {"of": "db"}},
        "spec": {
            "clusterIP": "None",
            "selector": {"app": "db"},
            "ports": [{"name": "grpc", "port": 50051}],
            **spec,
        },
    }


def endpoints(made: Object | None) -> list[Object]:
    assert made is not None
    found: list[Object] = made["endpoints"]
    return found


def test_a_slice_names_its_service_its_pods_and_their_hosts() -> None:
    owner = stateful_set()
    made = endpoint_slice(service(), [pod_of(owner, 1), pod_of(owner, 0)])
    assert made is not None
    assert made["metadata"]["labels"] == {
        "of": "db",
        "kubernetes.io/service-name": "db-headless",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        "service.kubernetes.io/headless": "",
    }
    assert [entry["hostname"] for entry in endpoints(made)] == ["db-0", "db-1"]
    assert made["ports"] == [{"name": "grpc", "protocol": "TCP", "port": 50051}]


@pytest.mark.parametrize(
    ("pod", "anyway", "conditions"),
    [
        ({}, False, (True, True, False)),
        ({"ready": False}, False, (False, False, False)),
        ({"ready": False}, True, (True, False, False)),
        ({"terminating": True}, False, (False, True, True)),
        ({"terminating": True}, True, (True, True, True)),
    ],
)
def test_conditions_of_an_endpoint(pod: dict[str, Any], anyway: bool, conditions: tuple[bool, ...]) -> None:
    made = endpoint_slice(service(publishNotReadyAddresses=anyway), [pod_of(stateful_set(), 0, **pod)])
    [entry] = endpoints(made)
    found = entry["conditions"]
    assert (found["ready"], found["serving"], found["terminating"]) == conditions


@pytest.mark.parametrize("spec", [{"selector": None}, {"selector": {}}, {"type": "ExternalName"}])
def test_a_service_that_selects_nothing_has_no_slice(spec: dict[str, Any]) -> None:
    assert endpoint_slice(service(**spec), []) is None


def test_pods_without_address_and_finished_ones_are_left_out() -> None:
    owner = stateful_set()
    nowhere, ended = pod_of(owner, 0), pod_of(owner, 1, phase="Failed")
    del nowhere["status"]["podIP"]
    stranger = pod_of(owner, 2)
    stranger["metadata"]["labels"] = {"app": "other"}
    assert endpoints(endpoint_slice(service(), [nowhere, ended, stranger])) == []


def test_named_target_ports_are_looked_up_in_the_pods() -> None:
    pod = pod_of(stateful_set(), 0)
    pod["spec"]["containers"][0]["ports"] = [{"name": "web", "containerPort": 8080}]
    ports = [{"name": "http", "port": 80, "targetPort": "web"}, {"port": 81, "targetPort": "none"}]
    made = endpoint_slice(service(ports=ports), [pod])
    assert made is not None
    assert made["ports"] == [
        {"name": "http", "protocol": "TCP", "port": 8080},
        {"name": "", "protocol": "TCP"},
    ]


def budget(**spec: Any) -> Object:
    return {
        "metadata": {"name": "b", "namespace": "ns", "uid": "b", "generation": 2},
        "spec": {"selector": {"matchLabels": {"app": "db"}}, **spec},
    }


@pytest.mark.parametrize(
    ("spec", "healthy", "total", "desired", "allowed"),
    [
        ({"minAvailable": 2}, 3, 3, 2, 1),
        ({"minAvailable": 2}, 2, 3, 2, 0),
        ({"minAvailable": "50%"}, 3, 3, 2, 1),
        ({"minAvailable": "100%"}, 3, 3, 3, 0),
        ({"maxUnavailable": 1}, 3, 3, 2, 1),
        ({"maxUnavailable": 1}, 2, 3, 2, 0),
        ({"maxUnavailable": "34%"}, 3, 3, 1, 2),
        ({"maxUnavailable": 5}, 3, 3, 0, 3),
        ({"minAvailable": 0}, 0, 0, 0, 0),
    ],
)
def test_allowed_disruptions(
    spec: dict[str, Any], healthy: int, total: int, desired: int, allowed: int
) -> None:
    owner = stateful_set(total)
    pods = [pod_of(owner, ordinal, ready=ordinal < healthy) for ordinal in range(total)]
    status = budget_status(budget(**spec), pods, {UID: (UID, total)}, NOW)
    assert status["currentHealthy"] == healthy
    assert status["expectedPods"] == total
    assert (status["desiredHealthy"], status["disruptionsAllowed"]) == (desired, allowed)
    assert status["observedGeneration"] == 2


def test_expected_pods_are_those_that_should_be_there() -> None:
    owner = stateful_set(5)
    status = budget_status(
        budget(maxUnavailable=1), [pod_of(owner, 0), pod_of(owner, 1)], {UID: (UID, 5)}, NOW
    )
    assert (status["expectedPods"], status["desiredHealthy"], status["disruptionsAllowed"]) == (5, 4, 0)


@pytest.mark.parametrize("phase", ["Failed", "Succeeded"])
def test_a_pod_that_has_ended_counts_for_no_budget_and_holds_no_claim(phase: str) -> None:
    owner = stateful_set(3)
    pods = [pod_of(owner, 0), pod_of(owner, 1), pod_of(owner, 2, phase=phase)]
    status = budget_status(budget(minAvailable=1), pods, {UID: (UID, 3)}, NOW)
    assert (status["currentHealthy"], status["expectedPods"], status["disruptionsAllowed"]) == (2, 2, 1)
    assert [used(claim_of(ordinal), pods) for ordinal in range(3)] == [True, True, False]


def test_the_condition_keeps_its_time_while_it_does_not_move() -> None:
    owner = stateful_set(2)
    pods = [pod_of(owner, 0), pod_of(owner, 1)]
    one = budget(minAvailable=1)
    one["status"] = budget_status(one, pods, {UID: (UID, 2)}, NOW)
    later = budget_status(one, pods, {UID: (UID, 2)}, "2028-01-01T00:00:00Z")
    assert later == one["status"]
    fewer = budget_status(one, pods[:1], {UID: (UID, 2)}, "2028-01-01T00:00:00Z")
    assert fewer["conditions"][0]["lastTransitionTime"] == "2028-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        (None, False),
        ({}, True),
        ({"matchLabels": {"a": "1"}}, True),
        ({"matchLabels": {"a": "2"}}, False),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}, True),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, False),
        ({"matchExpressions": [{"key": "z", "operator": "NotIn", "values": ["1"]}]}, True),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, False),
    ],
)
def test_label_selectors(selector: Object | None, matches: bool) -> None:
    assert p.matches(selector, {"a": "1", "b": "2"}) is matches


def test_a_claim_gets_the_default_class_and_a_volume_and_is_bound_whatever_its_size() -> None:
    classes: list[Object] = [
        {"metadata": {"name": "other"}},
        {
            "metadata": {
                "name": "standard",
                "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
            }
        },
    ]
    claim: Object = {
        "metadata": {"name": "c", "uid": "u1"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "9Ti"}}},
    }
    assert default_class([]) is None
    patch = spec_patch(claim, default_class(classes))
    assert patch == {"storageClassName": "standard", "volumeName": "pvc-u1"}
    claim["spec"] |= patch
    assert spec_patch(claim, "standard") == {}
    assert spec_patch({**claim, "spec": {**claim["spec"], "storageClassName": ""}}, "standard") == {}
    assert bound_status(claim) == {
        "phase": "Bound",
        "accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": "9Ti"},
    }
