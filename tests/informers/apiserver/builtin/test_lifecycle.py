"""Evictions, grace, generations, status writes: decisions without a server."""

from __future__ import annotations

import pytest

from informers.apiserver.builtin.eviction import evictable
from informers.apiserver.builtin.lifecycle import (
    isolate_status,
    owns_generation,
    pod_grace_period,
    spec_changed,
)
from informers.objects import Object, Resource

NOW = "2026-01-02T03:04:05Z"


def pod(phase: str = "Running", ready: str = "True", **metadata: object) -> Object:
    return {
        "metadata": {"name": "p", "labels": {"app": "x"}, **metadata},
        "spec": {"nodeName": "here"},
        "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]},
    }


def budget(allowed: int = 1, healthy: int = 3, desired: int = 2, observed: int = 1, **spec: object) -> Object:
    return {
        "metadata": {"name": "b", "generation": 1},
        "spec": {"selector": {"matchLabels": {"app": "x"}}, **spec},
        "status": {
            "disruptionsAllowed": allowed,
            "currentHealthy": healthy,
            "desiredHealthy": desired,
            "observedGeneration": observed,
        },
    }


def test_an_eviction_is_paid_for_from_the_budget() -> None:
    update, refusal = evictable(pod(), [budget()], NOW)
    assert refusal is None
    assert update is not None
    assert update["status"]["disruptionsAllowed"] == 0
    assert update["status"]["disruptedPods"] == {"p": NOW}


@pytest.mark.parametrize(
    ("subject", "budgets"),
    [
        (pod(), []),
        (pod(), [budget(0, selector={"matchLabels": {"app": "other"}})]),
        (pod(), [{**budget(0), "spec": {}}]),
        (pod("Pending"), [budget(0)]),
        (pod("Failed"), [budget(0)]),
        (pod(deletionTimestamp=NOW), [budget(0)]),
        (pod(ready="False"), [budget(0)]),
        (pod(ready="False"), [budget(0, healthy=1, unhealthyPodEvictionPolicy="AlwaysAllow")]),
    ],
)
def test_some_pods_go_for_free(subject: Object, budgets: list[Object]) -> None:
    assert evictable(subject, budgets, NOW) == (None, None)


@pytest.mark.parametrize(
    ("subject", "given", "cause", "retry"),
    [
        (
            pod(),
            budget(0, healthy=2),
            "The disruption budget b needs 2 healthy pods and has 2 currently",
            None,
        ),
        (
            pod(ready="False"),
            budget(0, healthy=1),
            "The disruption budget b needs 2 healthy pods and has 1 currently",
            None,
        ),
        (pod(), budget(1, observed=0), "The disruption budget b is still being processed by the server.", 10),
    ],
)
def test_refused_evictions(subject: Object, given: Object, cause: str, retry: int | None) -> None:
    update, refusal = evictable(subject, [given], NOW)
    assert update is None
    assert refusal is not None
    assert (refusal.code, refusal.reason) == (429, "TooManyRequests")
    assert refusal.message == "Cannot evict pod as it would violate the pod's disruption budget."
    assert refusal.details["causes"] == [{"reason": "DisruptionBudget", "message": cause}]
    assert refusal.details.get("retryAfterSeconds") == retry


def test_two_budgets_about_one_pod_are_an_error() -> None:
    refusal = evictable(pod(), [budget(), budget()], NOW).refusal
    assert refusal is not None
    assert refusal.code == 500


@pytest.mark.parametrize(
    ("spec", "phase", "requested", "seconds"),
    [
        ({"nodeName": "here"}, "Running", None, 30),
        ({"nodeName": "here", "terminationGracePeriodSeconds": 5}, "Running", None, 5),
        ({"nodeName": "here", "terminationGracePeriodSeconds": 5}, "Running", 60, 60),
        ({"nodeName": "here"}, "Running", 0, 0),
        ({"nodeName": "here"}, "Succeeded", None, 0),
        ({"nodeName": "here"}, "Failed", 60, 0),
        ({}, "Pending", None, 0),
        ({"nodeName": "here"}, "Running", -3, 1),
    ],
)
def test_the_grace_of_pods(spec: Object, phase: str, requested: int | None, seconds: int) -> None:
    assert pod_grace_period({"spec": spec, "status": {"phase": phase}}, requested) == seconds


STATEFUL_SET = Resource("apps", "v1", "statefulsets", "StatefulSet")
DEPLOYMENT = Resource("apps", "v1", "deployments", "Deployment")
CONFIG = Resource("", "v1", "configmaps", "ConfigMap")
SERVICE = Resource("", "v1", "services", "Service")
SLICE = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")


def test_which_kinds_count_their_changes() -> None:
    assert owns_generation(STATEFUL_SET)
    assert owns_generation(SLICE)
    assert not owns_generation(CONFIG)
    assert not owns_generation(SERVICE)


@pytest.mark.parametrize(
    ("resource", "new", "old", "moves"),
    [
        (STATEFUL_SET, {"spec": {"a": 1}}, {"spec": {"a": 2}}, True),
        (STATEFUL_SET, {"spec": {}, "status": {"a": 1}}, {"spec": {}}, False),
        (STATEFUL_SET, {"metadata": {"annotations": {"a": "b"}}}, {}, False),
        (DEPLOYMENT, {"metadata": {"annotations": {"a": "b"}}}, {}, True),
        (SLICE, {"endpoints": [1]}, {"endpoints": []}, True),
        (SLICE, {"metadata": {"labels": {"a": "b"}}}, {"metadata": {}}, True),
        (CONFIG, {"data": {"a": "b"}}, {}, False),
    ],
)
def test_what_moves_the_generation(resource: Resource, new: Object, old: Object, moves: bool) -> None:
    assert spec_changed(new, old, resource) is moves


def test_a_status_write_takes_the_status_and_labels_but_no_spec() -> None:
    old: Object = {
        "metadata": {"name": "x", "uid": "u", "ownerReferences": [1]},
        "spec": {"a": 1},
        "status": {"b": 1},
    }
    new: Object = {
        "metadata": {"name": "x", "uid": "other", "labels": {"l": "1"}},
        "spec": {"a": 2},
        "status": {"b": 2},
    }
    result = isolate_status(new, old, STATEFUL_SET)
    assert result == {
        "metadata": {"name": "x", "uid": "u", "labels": {"l": "1"}},
        "spec": {"a": 1},
        "status": {"b": 2},
    }
    of_pod = isolate_status(new, old, Resource("", "v1", "pods", "Pod"))
    assert of_pod["metadata"]["ownerReferences"] == [1]
