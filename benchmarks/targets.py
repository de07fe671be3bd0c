"""What must hold, as ratios inside one run. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from benchmarks.peers.programs import GO, KOPF, OURS, RUST
from benchmarks.scenarios import Figures

MIB = 2**20
LINEAR = 1.05
"""Largest exponent of growth that counts as linear."""


class Verdict(Enum):
    """What became of a target."""

    HOLDS = "holds"
    FAILS = "FAILS"
    UNKNOWN = "not measured"


@dataclass(frozen=True, slots=True)
class Target:
    """Our cost is at most ``factor`` times the cheapest of the peer's figures; without a peer, at most
    ``factor`` itself."""

    title: str
    ours: str
    factor: float
    peer: str = ""
    theirs: Sequence[str] = ()
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A target and how it went.

    :param ratio: our cost over the peer's; the cost itself without a peer; ``None`` when not measured.
    """

    target: Target
    ours: float | None
    theirs: float | None
    ratio: float | None
    verdict: Verdict


_INGEST = "watch ingest, CPU per event"

TARGETS: Sequence[Target] = (
    Target(
        "cold sync, CPU per object (its paged list)",
        "sync_stream_us",
        0.5,
        GO,
        ("sync_paged_us",),
        "µs",
    ),
    Target(
        "cold sync, CPU per object (its better list)",
        "sync_stream_us",
        0.8,
        RUST,
        ("sync_paged_us", "sync_stream_us"),
        "µs",
    ),
    Target("memory per cached object", "memory_bytes", 0.25, GO, ("memory_bytes",), "B"),
    Target("memory per cached object", "memory_bytes", 0.25, RUST, ("memory_bytes",), "B"),
    Target(_INGEST, "ingest_us", 1 / 2, RUST, ("ingest_us",), "µs"),
    Target(_INGEST, "ingest_us", 1 / 5, GO, ("ingest_us",), "µs"),
    Target(_INGEST, "ingest_us", 1 / 40, KOPF, ("ingest_us",), "µs"),
    Target(
        "event to reconcile at 2000/s, p99", "latency_2000_p99_ms", 1.0, GO, ("latency_2000_p99_ms",), "ms"
    ),
    Target("no-op reconcile, StatefulSet built", "noop_build_us", 1.0, RUST, ("noop_build_us",), "µs"),
    Target("no-op reconcile, input gate", "noop_gate_us", 1 / 5, RUST, ("noop_build_us",), "µs"),
    Target("server-side apply over TLS, client CPU", "apply_tls_us", 1.0, GO, ("apply_tls_us",), "µs"),
    Target("growth of sync, exponent", "growth_sync", LINEAR),
    Target("growth of memory, exponent", "growth_memory", LINEAR),
    Target("growth of resync, exponent", "growth_resync", LINEAR),
    Target("writes in 100 resyncs, converged", "steady_writes", 0.0),
    Target("router mutations in 100 resyncs, converged", "steady_mutations", 0.0),
    Target("operator RSS", "operator_rss_mib", 256.0, unit="MiB"),
)


def add_growth(figures: Figures, sizes: Sequence[int]) -> None:
    """Exponents of growth out of the costs at several sizes: the slope between the last two.

    What does not depend on the number of objects would hide growth at the small end, so the small end only
    counts when there is nothing else.
    """
    small, large = sizes[-2:]
    for what in ("sync", "memory", "resync"):
        before = figures.get(f"growth_{what}_{small}", {}).get(OURS)
        after = figures.get(f"growth_{what}_{large}", {}).get(OURS)
        if before and after and before > 0 and after > 0:
            figures[f"growth_{what}"] = {OURS: math.log(after / before) / math.log(large / small)}


def judge(figures: Mapping[str, Mapping[str, float]]) -> list[Judgement]:
    """Every target with its verdict."""
    return [_judge(target, figures) for target in TARGETS]


def _judge(target: Target, figures: Mapping[str, Mapping[str, float]]) -> Judgement:
    ours = figures.get(target.ours, {}).get(OURS)
    theirs: float | None = None
    ratio = ours
    if target.peer:
        known = [figures[name][target.peer] for name in target.theirs if target.peer in figures.get(name, {})]
        theirs = min(known, default=None)
        ratio = ours / theirs if ours is not None and theirs else None
    return Judgement(target, ours, theirs, ratio, _verdict(ratio, target.factor))


def _verdict(ratio: float | None, factor: float) -> Verdict:
    if ratio is None:
        return Verdict.UNKNOWN
    return Verdict.HOLDS if ratio <= factor else Verdict.FAILS
