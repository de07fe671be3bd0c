"""Cluster DNS names to addresses, as a table."""

from __future__ import annotations

from typing import Any

import pytest

from etl_operator.sandbox.resolving import ClusterNames, Target, Unresolvable
from informers.objects import Object, ObjectKey

SERVICES: dict[ObjectKey, Object] = {
    ObjectKey("ns", "db"): {"spec": {"clusterIP": "None", "ports": [{"name": "grpc", "port": 50051}]}},
    ObjectKey("ns", "web"): {
        "spec": {
            "clusterIP": "10.0.0.1",
            "ports": [{"name": "http", "port": 80}, {"name": "admin", "port": 81}],
        }
    },
    ObjectKey("ns", "empty"): {"spec": {"clusterIP": "None"}},
}


def endpoint(address: str, hostname: str = "", ready: bool | None = True) -> Object:
    entry: Object = {"addresses": [address], "conditions": {"ready": ready}}
    if ready is None:
        del entry["conditions"]["ready"]
    if hostname:
        entry["hostname"] = hostname
    return entry


SLICES: dict[ObjectKey, list[Object]] = {
    ObjectKey("ns", "db"): [
        {
            "endpoints": [
                endpoint("127.1.0.1", "db-0"),
                endpoint("127.1.0.2", "db-1", ready=False),
                endpoint("127.1.0.3", "db-2", ready=None),
            ]
        }
    ],
    ObjectKey("ns", "web"): [
        {
            "ports": [{"name": "http", "port": 8080}, {"name": "admin"}],
            "endpoints": [endpoint("127.2.0.1"), endpoint("127.2.0.2", ready=False)],
        }
    ],
}

NAMES = ClusterNames(SERVICES.get, lambda key: SLICES.get(key, []))


@pytest.mark.parametrize(
    ("host", "port", "targets"),
    [
        ("db-0.db.ns.svc.cluster.local", 50051, [("127.1.0.1", 50051)]),
        ("db-0.db.ns.svc", 9, [("127.1.0.1", 9)]),
        ("DB-0.db.NS.svc.cluster.local.", 9, [("127.1.0.1", 9)]),
        ("db-2.db.ns.svc", 9, [("127.1.0.3", 9)]),
        ("db.ns.svc", 7, [("127.1.0.1", 7), ("127.1.0.3", 7)]),
        ("web.ns.svc.cluster.local", 80, [("127.2.0.1", 8080)]),
    ],
)
def test_names_lead_to_their_pods(host: str, port: int, targets: list[Any]) -> None:
    assert NAMES.resolve(host, port) == [Target(*one) for one in targets]


@pytest.mark.parametrize(
    ("host", "port", "said"),
    [
        ("db-1.db.ns.svc", 1, "pod db-1 of Service ns/db is not ready"),
        ("db-7.db.ns.svc", 1, "Service ns/db has no pod db-7"),
        ("x.other.svc", 1, "Service other/x not found"),
        ("empty.ns.svc", 1, "Service ns/empty has no ready endpoint"),
        ("web.ns.svc", 82, "Service ns/web has no port 82"),
        ("web.ns.svc", 81, "Service ns/web has no ready endpoint"),
        ("web-0.web.ns.svc", 80, "Service ns/web has no pod web-0"),
        ("example.com", 80, "example.com is not a DNS name of the cluster"),
    ],
)
def test_what_is_missing_is_said(host: str, port: int, said: str) -> None:
    with pytest.raises(Unresolvable, match=said):
        NAMES.resolve(host, port)


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("a.b.svc", True),
        ("a.b.c.svc.cluster.local", True),
        ("a.b.c.d.svc", False),
        ("svc", False),
        ("a.b.svc.example.com", False),
        ("-a.b.svc", False),
        ("127.0.0.1", False),
        ("localhost", False),
    ],
)
def test_which_names_are_the_clusters(host: str, known: bool) -> None:
    assert NAMES.knows(host) is known


def test_another_domain() -> None:
    names = ClusterNames(SERVICES.get, lambda key: SLICES.get(key, []), domain="corp.example")
    assert names.resolve("db-0.db.ns.svc.corp.example", 1) == [Target("127.1.0.1", 1)]
    assert not names.knows("db-0.db.ns.svc.cluster.local")
