"""Which service of a stage takes the next call. Pure."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import Random

from etl_operator.node.data.graph import Selector
from etl_operator.node.data.view import Service
from etl_operator.router.pb import router_pb2

_POINTS = 64
"""Points of a service of weight 1 on the ring."""

Key = tuple[str, int]
"""Source and partition."""


@dataclass(slots=True, eq=False)
class Endpoint:
    """A service and what is known of its calls, shared by all stages that call it."""

    service: Service
    outstanding: int = 0
    failures: int = 0
    """Calls in a row that it did not answer."""
    paused_until: float = float("-inf")
    """Monotonic seconds: no call before."""
    most_records: int = 0
    """What it said it takes in a batch, a sink that was full in the next one; 0 for any number."""
    most_batches: int = 0
    """What it said it takes at the same time; 0 for any number."""
    streams: bool = False
    """It said that it serves streams."""
    asked: bool = False
    """It was asked for the three above since it last came back."""

    @property
    def is_full(self) -> bool:
        """It has all the calls that it takes at the same time."""
        limits = [limit for limit in (self.service.most_calls, self.most_batches) if limit]
        return bool(limits) and self.outstanding >= min(limits)


def selects(selector: Selector, service: Service, kind: int) -> bool:
    """Whether ``service`` is one of those behind a stage."""
    return (
        service.kind == kind
        and (not selector.name or service.name == selector.name)
        and (not selector.group or service.group == selector.group)
        and all(service.labels.get(key) == value for key, value in selector.labels.items())
    )


def usable(endpoints: Iterable[Endpoint]) -> list[Endpoint]:
    """Those with a lease that are healthy; without any the next best: a registry that nobody renews, or a
    probe that errs, must not stop records that could flow."""
    every = list(endpoints)
    for good in (
        [one for one in every if one.service.live and one.service.healthy],
        [one for one in every if one.service.live],
    ):
        if good:
            return good
    return every


@dataclass(slots=True)
class Balancer:
    """The strategy of one stage.

    :param strategy: a ``LoadBalanceStrategy``; unspecified is round robin.
    """

    strategy: int
    chance: Random
    _turn: int = 0
    _ring: list[tuple[int, Endpoint]] = field(default_factory=list)
    _ring_of: tuple[int, ...] = ()

    def pick(self, endpoints: Sequence[Endpoint], key: Key, now: float) -> Endpoint | None:
        """The service for a call with records of ``key``; None if all of them pause or are full."""
        free = [one for one in endpoints if one.paused_until <= now and not one.is_full]
        if not free:
            return None
        match self.strategy:
            case router_pb2.LOAD_BALANCE_LEAST_CONNECTIONS:
                least = min(one.outstanding for one in free)
                return self._next([one for one in free if one.outstanding == least])
            case router_pb2.LOAD_BALANCE_WEIGHTED_RANDOM:
                return self.chance.choices(free, [one.service.weight or 1 for one in free])[0]
            case router_pb2.LOAD_BALANCE_CONSISTENT_HASH:
                return self._on_ring(endpoints, free, key)
        return self._next(free)

    def _next(self, free: Sequence[Endpoint]) -> Endpoint:
        self._turn += 1
        return free[self._turn % len(free)]

    def _on_ring(self, endpoints: Sequence[Endpoint], free: Sequence[Endpoint], key: Key) -> Endpoint:
        """The first that is free from the key's place on: others keep their keys when one comes or goes."""
        members = tuple(id(one) for one in endpoints)
        if members != self._ring_of:
            points = [
                (_hash(f"{one.service.service_id}#{i}"), one) for one in endpoints for i in range(_POINTS)
            ]
            self._ring = sorted(points, key=lambda point: point[0])
            self._ring_of = members
        place = bisect_right(self._ring, _hash(f"{key[0]}/{key[1]}"), key=lambda point: point[0])
        allowed = set(map(id, free))
        for i in range(len(self._ring)):
            endpoint = self._ring[(place + i) % len(self._ring)][1]
            if id(endpoint) in allowed:
                return endpoint
        raise AssertionError("every endpoint is on the ring")


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


def lane_of(key: Key, lanes: int) -> int:
    """The lane of a source's partition, the same on every node."""
    return _hash(f"{key[0]}/{key[1]}") % lanes if lanes > 1 else 0
