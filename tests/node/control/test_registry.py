from __future__ import annotations

import pytest

from etl_operator.node.control.registry import SINK, SOURCE, TRANSFORM, Registry


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def registry(clock: Clock) -> Registry:
    return Registry(clock)


def ids(registry: Registry, name: str) -> list[str]:
    return [service.service_id for service in registry.endpoints(name)]


@pytest.mark.parametrize(
    ("given", "stored"), [(1, SOURCE), (2, TRANSFORM), (3, SINK), (0, SOURCE), (4, SOURCE), (9, SOURCE)]
)
def test_types_other_than_the_three_are_stored_as_source(registry: Registry, given: int, stored: int) -> None:
    registry.register("ns/a", given, "a", "a-svc", 1)
    assert [service.service_type for service in registry] == [stored]


def test_a_second_registration_replaces_but_doubles_the_endpoint(registry: Registry) -> None:
    registry.register("ns/a", 1, "a", "old", 1)
    registry.register("ns/a", 1, "a", "new", 2)
    assert [(s.host, s.port) for s in registry] == [("new", 2)]
    assert [(s.host, s.port) for s in registry.endpoints("a")] == [("new", 2), ("new", 2)]


def test_a_new_name_leaves_the_old_one_behind(registry: Registry) -> None:
    registry.register("ns/a", 1, "a", "svc", 1)
    registry.register("ns/a", 1, "b", "svc", 1)
    assert ids(registry, "a") == ids(registry, "b") == ["ns/a"]


def test_deregistering_removes_every_copy_under_the_present_name(registry: Registry) -> None:
    for name in ("a", "a", "b"):
        registry.register("ns/a", 1, name, "svc", 1)
    registry.deregister("ns/a")
    registry.register("ns/a", 1, "c", "svc", 1)
    assert (ids(registry, "a"), ids(registry, "b")) == (["ns/a", "ns/a"], [])


def test_deregistering_what_is_not_there_is_fine(registry: Registry) -> None:
    registry.deregister("ns/a")
    assert len(registry) == 0


def test_a_lease_that_ran_out_hides_the_endpoint_and_nothing_else(registry: Registry, clock: Clock) -> None:
    registry.register("ns/a", 1, "a", "svc", 1)
    clock.now += 30.0
    assert ids(registry, "a") == ["ns/a"]
    clock.now += 0.1
    assert ids(registry, "a") == []
    assert [service.service_id for service in registry] == ["ns/a"]


def test_a_heartbeat_renews_even_what_ran_out(registry: Registry, clock: Clock) -> None:
    registry.register("ns/a", 1, "a", "svc", 1)
    clock.now += 100
    assert registry.heartbeat("ns/a")
    assert ids(registry, "a") == ["ns/a"]


def test_a_heartbeat_of_a_stranger_is_not_acknowledged(registry: Registry) -> None:
    assert not registry.heartbeat("ns/a")
    assert len(registry) == 0


def test_the_lease_is_a_setting(clock: Clock) -> None:
    registry = Registry(clock, lease=3.0)
    registry.register("ns/a", 1, "a", "svc", 1)
    clock.now += 3.5
    assert ids(registry, "a") == []


def test_an_ipv6_host_comes_back_broken_as_from_published_routers(registry: Registry) -> None:
    registry.register("ns/a", 1, "a", "fd00::1", 50051)
    assert [(s.host, s.port) for s in registry] == [("fd00", 0)]


def test_nothing_is_validated(registry: Registry) -> None:
    registry.register("", 1, "", "", 0)
    assert ids(registry, "") == [""]
