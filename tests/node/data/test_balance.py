from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl_operator.node.data.balance import Balancer, Endpoint, lane_of, selects, usable
from etl_operator.node.data.graph import Selector
from etl_operator.node.data.view import Service
from etl_operator.router.pb import router_pb2

NOW = 100.0
STRATEGIES = router_pb2.LoadBalanceStrategy.values()


def endpoint(name: str, **fields: int | bool) -> Endpoint:
    return Endpoint(Service(f"ns/{name}", 3, name, "h", 1, **fields))  # type: ignore[arg-type]


def picks(strategy: int, endpoints: list[Endpoint], keys: int = 300) -> Counter[str]:
    balancer = Balancer(strategy, Random(1))
    found = [balancer.pick(endpoints, ("s", key), NOW) for key in range(keys)]
    return Counter(one.service.name for one in found if one is not None)


def test_round_robin_takes_turns() -> None:
    three = [endpoint(name) for name in "abc"]
    assert picks(router_pb2.LOAD_BALANCE_ROUND_ROBIN, three) == {"a": 100, "b": 100, "c": 100}
    assert picks(router_pb2.LOAD_BALANCE_UNSPECIFIED, three) == {"a": 100, "b": 100, "c": 100}


def test_least_connections_are_those_of_this_node() -> None:
    three = [endpoint(name) for name in "abc"]
    three[0].outstanding = 1
    found = picks(router_pb2.LOAD_BALANCE_LEAST_CONNECTIONS, three)
    assert found == {"b": 150, "c": 150}


def test_weights_are_shares() -> None:
    found = picks(router_pb2.LOAD_BALANCE_WEIGHTED_RANDOM, [endpoint("a", weight=9), endpoint("b")], 3000)
    assert 8 < found["a"] / found["b"] < 10


def test_a_ring_keeps_the_keys_of_others() -> None:
    hashing = router_pb2.LOAD_BALANCE_CONSISTENT_HASH
    every = [endpoint(name) for name in "abcd"]
    keys = [("s", n) for n in range(400)]

    def placed(endpoints: list[Endpoint]) -> list[str]:
        balancer = Balancer(hashing, Random(1))
        return [one.service.name for key in keys if (one := balancer.pick(endpoints, key, NOW))]

    before, after = placed(every), placed(every[:3])
    assert [b for b, a in zip(before, after, strict=True) if b != a] == ["d"] * before.count("d")
    assert placed(every) == before
    assert min(Counter(before).values()) > 40
    # One that pauses gives its keys away, and gets them back.
    every[3].paused_until = NOW + 1
    assert "d" not in placed(every)
    every[3].paused_until = NOW
    assert placed(every) == before


@pytest.mark.parametrize("strategy", STRATEGIES)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 2), st.integers(0, 2)), max_size=4))
def test_no_strategy_picks_what_pauses_or_is_full(strategy: int, states: list[tuple[bool, int, int]]) -> None:
    endpoints = []
    for number, (pauses, outstanding, most) in enumerate(states):
        one = endpoint(str(number), most_calls=most)
        one.outstanding, one.paused_until = outstanding, NOW + 1 if pauses else 0.0
        endpoints.append(one)
    found = Balancer(strategy, Random(1)).pick(endpoints, ("s", 1), NOW)
    free = [
        o
        for o, (pauses, out, most) in zip(endpoints, states, strict=True)
        if not pauses and (not most or out < most)
    ]
    assert (found in free) if free else found is None


def test_limits_of_the_registration_and_of_the_service_itself() -> None:
    one = endpoint("a", most_calls=3)
    one.most_batches = 2
    one.outstanding = 2
    assert one.is_full
    one.outstanding = 1
    assert not one.is_full


def test_services_without_a_lease_or_health_are_the_last_choice() -> None:
    good, ill, gone = endpoint("a"), endpoint("b", healthy=False), endpoint("c", live=False)
    assert usable([good, ill, gone]) == [good]
    assert usable([ill, gone]) == [ill]
    assert usable([gone]) == [gone]
    assert usable([]) == []


def test_all_criteria_of_a_selector_must_hold() -> None:
    service = Service("ns/a", 3, "a", "h", 1, group="g", labels={"x": "1", "y": "2"})
    for selector, holds in (
        (Selector("a", "", {}, 0), True),
        (Selector("b", "", {}, 0), False),
        (Selector("", "g", {}, 0), True),
        (Selector("a", "other", {}, 0), False),
        (Selector("", "", {"x": "1"}, 0), True),
        (Selector("a", "g", {"x": "2"}, 0), False),
    ):
        assert selects(selector, service, 3) is holds
        assert not selects(selector, service, 2)


@given(st.text(max_size=5), st.integers(0, 100), st.integers(1, 8))
def test_a_partition_has_one_lane(source: str, partition: int, lanes: int) -> None:
    assert 0 <= lane_of((source, partition), lanes) < lanes
    assert lane_of((source, partition), lanes) == lane_of((source, partition), lanes)
