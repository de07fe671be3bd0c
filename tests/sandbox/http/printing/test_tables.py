"""Tables: their rows, their columns, and the object that comes with each row."""

from __future__ import annotations

from typing import Any

import pytest

from etl_operator.sandbox.http.printing.tables import TableMaker, include_object
from informers.apiserver.errors import StatusError
from informers.objects import Object, Resource

POD: Object = {
    "metadata": {"name": "p", "creationTimestamp": "2027-01-01T00:00:00Z"},
    "spec": {"containers": [{"name": "a"}, {"name": "b"}], "nodeName": "n"},
    "status": {
        "phase": "Running",
        "podIP": "127.1.0.1",
        "containerStatuses": [
            {"ready": True, "restartCount": 1, "state": {"running": {}}},
            {"ready": False, "restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}}},
        ],
    },
}


def cells(group: str, plural: str, obj: Object, columns: Any = ()) -> dict[str, Any]:
    resource = Resource(group, "v1", plural, "Thing")
    table = TableMaker(resource, columns, "Metadata").table([obj], {}, 1_798_761_605.0)
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    names = [column["name"] for column in table["columnDefinitions"]]
    return dict(zip(names, table["rows"][0]["cells"], strict=True))


def test_a_pods_row_says_what_is_wrong() -> None:
    row = cells("", "pods", POD)
    assert (row["Ready"], row["Status"], row["Restarts"], row["Age"]) == (
        "1/2",
        "CrashLoopBackOff",
        "3",
        "5s",
    )
    gone = {**POD, "metadata": {**POD["metadata"], "deletionTimestamp": "2027-01-01T00:00:00Z"}}
    assert cells("", "pods", gone)["Status"] == "Terminating"


def test_custom_columns_come_from_the_definition() -> None:
    columns = [
        {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
        {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"},
        {"name": "Missing", "type": "string", "jsonPath": ".spec.none"},
        {"name": "Born", "type": "date", "jsonPath": ".metadata.creationTimestamp", "priority": 1},
    ]
    obj = {
        "metadata": POD["metadata"],
        "spec": {"replicas": 2},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }
    row = cells("x", "ys", obj, columns)
    assert row == {"Name": "p", "Ready": "True", "Replicas": 2, "Missing": None, "Born": "5s"}


def test_events_and_definitions_tell_their_story() -> None:
    event = {
        "metadata": {"name": "e"},
        "reportingController": "kubelet",
        "reportingInstance": "node1",
        "eventTime": "2027-01-01T00:00:00.000000Z",
        "regarding": {"kind": "Pod", "name": "p", "fieldPath": "spec.containers{main}"},
        "series": {"count": 3, "lastObservedTime": "2027-01-01T00:00:03.000000Z"},
        "type": "Normal",
        "reason": "Started",
        "note": "hello",
    }
    row = cells("events.k8s.io", "events", event)
    told = ["2s", "Normal", "Started", "pod/p", "spec.containers{main}", "kubelet, node1", "hello"]
    assert list(row.values()) == [*told, "5s", 3, "e"]
    definition = {
        "metadata": {"name": "ys.x", "creationTimestamp": "2027-01-01T00:00:00Z"},
        "spec": {
            "scope": "Namespaced",
            "group": "x",
            "names": {"kind": "Y", "shortNames": ["y", "yy"]},
            "versions": [{"name": "v1", "storage": True}, {"name": "v1beta1", "storage": False}],
        },
        "status": {"conditions": [{"type": "Established", "status": "True"}]},
    }
    row = cells("apiextensions.k8s.io", "customresourcedefinitions", definition)
    assert (row["Versions"], row["ShortNames"], row["Established"]) == ("v1(storage),v1beta1", "y,yy", True)


def test_rows_carry_what_was_asked_for() -> None:
    whole = {"apiVersion": "v1", "kind": "Pod", **POD}
    for include, expected in (("None", None), ("Object", whole)):
        [row] = TableMaker(Resource("", "v1", "pods", "Pod"), (), include).table([POD], {}, 0.0)["rows"]
        assert row.get("object") == expected
    with pytest.raises(StatusError):
        include_object("Everything")
