"""What is measured: every scenario once per program and repetition, turned into named figures.

All figures are costs: lower is better. The best of the repetitions counts, because whatever else runs on the
machine can only add to a cost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers.programs import KOPF, Peer
from benchmarks.processes import MeasurementError, Program, StubProcess, cpus

Figures = dict[str, dict[str, float]]
"""Figure to program to value."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything.

    :param objects: in the ordinary cache.
    :param many: in the large one, where memory is read.
    :param growth: numbers of objects over which cost must grow in proportion.
    :param seconds: length of a run at a given rate.
    :param kopf: what kopf is given instead of ``objects``; it needs half a millisecond for each.
    """

    repetitions: int
    objects: int
    many: int
    growth: tuple[int, ...]
    events: int
    rounds: int
    requests: int
    seconds: float
    kopf: int


FULL = Sizes(3, 10_000, 50_000, (1_000, 10_000, 100_000), 50_000, 5, 10_000, 3.0, 5_000)
QUICK = Sizes(1, 5_000, 10_000, (1_000, 10_000), 15_000, 3, 3_000, 1.0, 1_000)

RATES = (200, 2_000)
"""Events a second at which latency is measured. kopf does not keep up with the second."""
_LATENCY_OBJECTS = 1_000
_SETTLE = 1.0
"""Seconds a program is left alone with full caches before memory is read, events are sent, or keys are
reconciled again: what it does once, after a sync, is no part of what comes again and again."""
_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class Run:
    """One start of one program.

    :param children: StatefulSets in the stub.
    :param rate: events a second; 0 is flat out.
    :param figures: turns what the program said, by phase, into figures.
    """

    scenario: str
    objects: int
    figures: Callable[[Mapping[str, Any]], dict[str, float]]
    children: int = 0
    events: int = 0
    rounds: int = 0
    rate: float = 0.0
    settle: float = 0.0
    streaming: bool = True
    secure: bool = False


def runs(peer: Peer, sizes: Sizes) -> Iterator[Run]:
    """The runs of one repetition for one program."""
    objects = sizes.kopf if peer.name == KOPF else sizes.objects
    many = sizes.kopf if peer.name == KOPF else sizes.many
    events = sizes.kopf if peer.name == KOPF else sizes.events
    for streaming, name in ((True, "sync_stream"), (False, "sync_paged")):
        yield Run("sync", objects, _sync(name, objects), settle=_SETTLE, streaming=streaming)
    yield Run("sync", many, _memory(many), settle=_SETTLE)
    yield Run("ingest", objects, _per("ingest", "result", events), events=events, settle=_SETTLE)
    for rate in RATES if peer.name != KOPF else RATES[:1]:
        count = int(rate * sizes.seconds)
        figures = _latency(f"latency_{rate}")
        yield Run("latency", _LATENCY_OBJECTS, figures, events=count, rate=rate, settle=_SETTLE)
    for scenario in ("noop-empty", "noop-build", "noop-pydantic", "noop-gate"):
        if scenario in peer.scenarios:
            figures = _per(scenario.replace("-", "_"), "result", objects * sizes.rounds)
            children = 0 if scenario == "noop-empty" else objects
            yield Run(scenario, objects, figures, children=children, rounds=sizes.rounds, settle=_SETTLE)
    if "apply" in peer.scenarios:
        figures = _per("apply_tls", "result", sizes.requests)
        yield Run("apply", _LATENCY_OBJECTS, figures, events=sizes.requests, secure=True)


def growth_runs(sizes: Sizes) -> Iterator[Run]:
    """Our own program with ever more objects."""
    for objects in sizes.growth:

        def figures(said: Mapping[str, Any], objects: int = objects) -> dict[str, float]:
            return {
                f"growth_sync_{objects}": said["ready"]["cpu"],
                f"growth_memory_{objects}": said["settled"]["rss_delta"],
                f"growth_resync_{objects}": said["result"]["cpu"],
            }

        yield Run("noop-empty", objects, figures, rounds=3, settle=_SETTLE)


def measure(peer: Peer, run: Run, stub: StubProcess, directory: Path) -> dict[str, float]:
    """Start a program, let it do one run, and end it.

    :raises MeasurementError: when it fails.
    """
    stub.set_objects(etlpipelines=run.objects, statefulsets=run.children, streaming=run.streaming)
    command = [*peer.command, run.scenario, "--objects", str(run.objects), "--events", str(run.events)]
    command += ["--rounds", str(run.rounds), "--settle", str(run.settle)]
    environ = {"KUBECONFIG": str(stub.secure_kubeconfig if run.secure else stub.kubeconfig)}
    if not run.streaming:
        command.append("--paged")
        environ |= peer.paged_environ
    program = Program(command, cpus()[:1], directory / f"{peer.name}-{run.scenario}.log", environ)
    said: dict[str, Any] = {}
    try:
        if run.scenario != "apply":
            said["ready"] = program.expect("ready", _TIMEOUT)
        if run.settle:
            said["settled"] = program.expect("settled", _TIMEOUT)
        if run.events and run.scenario != "apply":
            stub.emit(run.events, run.rate)
        if run.scenario != "sync":
            said["result"] = program.expect("result", _TIMEOUT)
    except MeasurementError as error:
        raise MeasurementError(f"{peer.name}, {run.scenario} with {run.objects} objects: {error}") from None
    finally:
        program.stop()
    return run.figures(said)


def keep_best(figures: Figures, peer: str, measured: Mapping[str, float]) -> None:
    """Put measured values into the figures, unless a better one is there."""
    for name, value in measured.items():
        known = figures.setdefault(name, {})
        known[peer] = min(value, known.get(peer, value))


def _sync(name: str, objects: int) -> Callable[[Mapping[str, Any]], dict[str, float]]:
    def figures(said: Mapping[str, Any]) -> dict[str, float]:
        return {
            f"{name}_us": said["ready"]["cpu"] / objects * 1e6,
            f"{name}_rss_mb": said["settled"]["rss"] / 1e6,
        }

    return figures


def _memory(objects: int) -> Callable[[Mapping[str, Any]], dict[str, float]]:
    def figures(said: Mapping[str, Any]) -> dict[str, float]:
        return {
            "memory_bytes": said["settled"]["rss_delta"] / objects,
            "sync_many_us": said["ready"]["cpu"] / objects * 1e6,
        }

    return figures


def _per(name: str, phase: str, count: int) -> Callable[[Mapping[str, Any]], dict[str, float]]:
    return lambda said: {f"{name}_us": said[phase]["cpu"] / count * 1e6}


def _latency(name: str) -> Callable[[Mapping[str, Any]], dict[str, float]]:
    def figures(said: Mapping[str, Any]) -> dict[str, float]:
        ordered = sorted(said["result"]["nanoseconds"])
        return {f"{name}_p{share}_ms": ordered[len(ordered) * share // 100] / 1e6 for share in (50, 99)}

    return figures
