"""What ``kubectl get`` shows, compared with what a real server shows for the same objects."""

from __future__ import annotations

from typing import Any

import pytest

from etl_operator.sandbox.http.printing.tables import TableMaker
from informers.objects import Object, Resource

NOW = 1_798_761_605.0  # 2027-01-01T00:00:05Z
CREATED = "2027-01-01T00:00:00Z"


def row(group: str, plural: str, obj: Object) -> dict[str, Any]:
    """One row: the cell by column name."""
    whole = {**obj, "metadata": {"name": "x", "creationTimestamp": CREATED, **obj.get("metadata", {})}}
    table = TableMaker(Resource(group, "v1", plural, "X"), (), "Metadata").table([whole], {}, NOW)
    names = [column["name"] for column in table["columnDefinitions"]]
    cells = dict(zip(names, table["rows"][0]["cells"], strict=True))
    del cells["Name"]
    cells.pop("Age", None)
    return cells


TEMPLATE = {
    "metadata": {"labels": {"a": "b"}},
    "spec": {"containers": [{"name": "a", "image": "x"}, {"name": "c", "image": "y"}]},
}
SELECTOR = {"matchLabels": {"a": "b"}}

SHOWN: list[tuple[str, str, Object, dict[str, Any]]] = [
    (
        "batch",
        "jobs",
        {
            "spec": {"completions": 1, "selector": SELECTOR, "template": TEMPLATE},
            "status": {"startTime": CREATED},
        },
        {
            "Status": "Running",
            "Completions": "0/1",
            "Duration": "5s",
            "Containers": "a,c",
            "Images": "x,y",
            "Selector": "a=b",
        },
    ),
    (
        "batch",
        "cronjobs",
        {"spec": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": TEMPLATE}}}},
        {
            "Schedule": "0 0 1 1 *",
            "Timezone": "<none>",
            "Suspend": "False",
            "Active": 0,
            "Last Schedule": "<none>",
            "Containers": "a,c",
            "Images": "x,y",
            "Selector": "<none>",
        },
    ),
    (
        "",
        "resourcequotas",
        {"spec": {"hard": {"pods": "3", "cpu": "2", "limits.cpu": "4"}}, "status": {"used": {"cpu": "1"}}},
        {"Request": "cpu: 1/2, pods: 0/3", "Limit": "limits.cpu: 0/4"},
    ),
    (
        "networking.k8s.io",
        "ingresses",
        {"spec": {"rules": [{"host": "foo.com"}], "tls": [{}]}},
        {"Class": "<none>", "Hosts": "foo.com", "Address": "", "Ports": "80, 443"},
    ),
    (
        "autoscaling",
        "horizontalpodautoscalers",
        {
            "spec": {
                "maxReplicas": 3,
                "minReplicas": 1,
                "scaleTargetRef": {"kind": "Deployment", "name": "d1"},
                "metrics": [
                    {
                        "type": "Resource",
                        "resource": {"name": "cpu", "target": {"averageUtilization": 50}},
                    }
                ],
            }
        },
        {
            "Reference": "Deployment/d1",
            "Targets": "cpu: <unknown>/50%",
            "MinPods": 1,
            "MaxPods": 3,
            "Replicas": 0,
        },
    ),
    (
        "discovery.k8s.io",
        "endpointslices",
        {
            "addressType": "IPv4",
            "endpoints": [{"addresses": [f"10.1.1.{last}"]} for last in range(1, 6)],
            "ports": [{"port": port} for port in (80, 81, 82, 83)],
        },
        {
            "AddressType": "IPv4",
            "Ports": "80,81,82 + 1 more...",
            "Endpoints": "10.1.1.1,10.1.1.2,10.1.1.3 + 2 more...",
        },
    ),
    (
        "discovery.k8s.io",
        "endpointslices",
        {"addressType": "IPv4"},
        {"AddressType": "IPv4", "Ports": "<unset>", "Endpoints": "<unset>"},
    ),
    (
        "",
        "endpoints",
        {"subsets": [{"addresses": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}], "ports": [{"port": 80}]}]},
        {"Endpoints": "10.0.0.1:80,10.0.0.2:80"},
    ),
    (
        "networking.k8s.io",
        "networkpolicies",
        {"spec": {"podSelector": {"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}}},
        {"Pod-Selector": "!a"},
    ),
    (
        "scheduling.k8s.io",
        "priorityclasses",
        {"value": 10, "preemptionPolicy": "Never"},
        {"Value": 10, "Global-Default": False, "PreemptionPolicy": "Never"},
    ),
    (
        "",
        "persistentvolumes",
        {
            "spec": {
                "capacity": {"storage": "1Gi"},
                "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain",
                "claimRef": {"namespace": "n", "name": "c"},
            },
            "status": {"phase": "Bound"},
        },
        {
            "Capacity": "1Gi",
            "Access Modes": "RWO",
            "Reclaim Policy": "Retain",
            "Status": "Bound",
            "Claim": "n/c",
            "StorageClass": "",
            "VolumeAttributesClass": "<unset>",
            "Reason": "",
            "VolumeMode": "Filesystem",
        },
    ),
    (
        "apps",
        "daemonsets",
        {"spec": {"selector": SELECTOR, "template": TEMPLATE}},
        {
            "Desired": 0,
            "Current": 0,
            "Ready": 0,
            "Up-to-date": 0,
            "Available": 0,
            "Node Selector": "<none>",
            "Containers": "a,c",
            "Images": "x,y",
            "Selector": "a=b",
        },
    ),
]


@pytest.mark.parametrize(("group", "plural", "obj", "cells"), SHOWN, ids=[entry[1] for entry in SHOWN])
def test_rows_are_those_of_a_real_server(group: str, plural: str, obj: Object, cells: dict[str, Any]) -> None:
    assert row(group, plural, obj) == cells


@pytest.mark.parametrize(
    ("spec", "address"),
    [
        ({"type": "ClusterIP"}, "<none>"),
        ({"type": "ClusterIP", "externalIPs": ["1.2.3.4"]}, "1.2.3.4"),
        ({"type": "ExternalName", "externalName": "foo.bar"}, "foo.bar"),
        ({"type": "LoadBalancer"}, "<pending>"),
    ],
)
def test_where_a_service_is_reached_from_outside(spec: Object, address: str) -> None:
    assert row("", "services", {"spec": spec})["External-IP"] == address


def test_a_cordoned_node_and_a_default_class_say_so() -> None:
    node = {
        "spec": {"unschedulable": True},
        "metadata": {"labels": {"node-role.kubernetes.io/worker": ""}},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }
    cells = row("", "nodes", node)
    assert (cells["Status"], cells["Roles"]) == ("Ready,SchedulingDisabled", "worker")
    marked = {
        "metadata": {"name": "s", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}
    }
    resource = Resource("storage.k8s.io", "v1", "storageclasses", "StorageClass")
    table = TableMaker(resource, (), "None").table([marked], {}, NOW)
    assert table["rows"][0]["cells"][0] == "s (default)"


def container(name: str = "main", **status: Any) -> Object:
    return {"name": name, "restartCount": 0, "ready": False, **status}


RUNNING = {"running": {"startedAt": CREATED}}


@pytest.mark.parametrize(
    ("pod", "shown"),
    [
        ({"status": {"phase": "Pending"}}, ("0/1", "Pending", "0")),
        (
            {"status": {"phase": "Running", "containerStatuses": [container(state=RUNNING, ready=True)]}},
            ("1/1", "Running", "0"),
        ),
        (
            {
                "status": {
                    "phase": "Running",
                    "containerStatuses": [
                        container(
                            restartCount=2,
                            state={"waiting": {"reason": "CrashLoopBackOff"}},
                            lastState={"terminated": {"finishedAt": CREATED}},
                        )
                    ],
                }
            },
            ("0/1", "CrashLoopBackOff", "2 (5s ago)"),
        ),
        (
            {
                "spec": {"initContainers": [{"name": "one"}, {"name": "two"}]},
                "status": {
                    "phase": "Pending",
                    "initContainerStatuses": [
                        container("one", state={"terminated": {"exitCode": 0}}),
                        container("two", state=RUNNING),
                    ],
                    "containerStatuses": [container(state={"waiting": {"reason": "PodInitializing"}})],
                },
            },
            ("0/1", "Init:1/2", "0"),
        ),
        (
            {
                "spec": {"initContainers": [{"name": "one"}]},
                "status": {
                    "phase": "Pending",
                    "initContainerStatuses": [
                        container("one", restartCount=3, state={"terminated": {"exitCode": 3}})
                    ],
                },
            },
            ("0/1", "Init:ExitCode:3", "3"),
        ),
        (
            {
                "spec": {"initContainers": [{"name": "side", "restartPolicy": "Always"}]},
                "status": {
                    "phase": "Running",
                    "initContainerStatuses": [container("side", state=RUNNING, started=True, ready=True)],
                    "containerStatuses": [container(state=RUNNING, ready=True)],
                },
            },
            ("2/2", "Running", "0"),
        ),
        (
            {
                "status": {
                    "phase": "Succeeded",
                    "containerStatuses": [
                        container(state={"terminated": {"exitCode": 0, "reason": "Completed"}})
                    ],
                }
            },
            ("0/1", "Completed", "0"),
        ),
        (
            {"metadata": {"deletionTimestamp": CREATED}, "status": {"phase": "Running"}},
            ("0/1", "Terminating", "0"),
        ),
        ({"status": {"phase": "Failed", "reason": "Evicted"}}, ("0/1", "Evicted", "0")),
    ],
)
def test_pods_in_one_word(pod: Object, shown: tuple[str, str, str]) -> None:
    spec = {"containers": [{"name": "main"}], **pod.get("spec", {})}
    cells = row("", "pods", {**pod, "spec": spec})
    assert (cells["Ready"], cells["Status"], cells["Restarts"]) == shown


def test_what_is_being_deleted_says_so() -> None:
    going = {"metadata": {"deletionTimestamp": CREATED}}
    bound = {"status": {"phase": "Bound"}}
    for plural in ("persistentvolumes", "persistentvolumeclaims"):
        assert row("", plural, {**going, **bound})["Status"] == "Terminating"
        assert row("", plural, bound)["Status"] == "Bound"
    assert row("batch", "jobs", {**going, "spec": {}})["Status"] == "Terminating"
    # Its own controller writes the phase.
    assert row("", "namespaces", {**going, "status": {"phase": "Terminating"}})["Status"] == "Terminating"
    lost = {**going, "spec": {"containers": []}, "status": {"phase": "Running", "reason": "NodeLost"}}
    assert row("", "pods", lost)["Status"] == "Unknown"


def test_what_a_node_has_not_told_is_unknown() -> None:
    cells = row("", "nodes", {})
    assert {cells[name] for name in ("OS-Image", "Kernel-Version", "Container-Runtime")} == {"<unknown>"}
