"""The output of the sandbox: a table that is updated in place, or plain lines.

Readiness is judged as ``kubectl wait --for=condition=Ready`` does, and stricter in one point: the
condition must have the object's current generation.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TextIO

from informers.objects import Object


@dataclass(frozen=True, slots=True)
class State:
    """One object's readiness. ``text`` says why it is not ready, or describes its state."""

    ready: bool
    text: str

    @property
    def reason(self) -> str:
        """What comes before the first colon: the kind of state, without its details."""
        return self.text.partition(":")[0]


def readiness(obj: Object | None) -> State:
    """Whether the state of an object is as specified. Kinds without a status are ready when they exist."""
    if obj is None:
        return State(False, "not created yet")
    status = obj.get("status") or {}
    if (
        status.get("observedGeneration", 0) < obj["metadata"].get("generation", 0)
        and obj["kind"] == "Deployment"
    ):
        return State(False, "the latest change is not observed yet")
    conditions = {c["type"]: c for c in status.get("conditions") or () if isinstance(c, dict)}
    if obj["metadata"].get("deletionTimestamp"):
        return _being_deleted(obj, conditions)
    for kind in ("Ready", "Available", "Established"):
        if kind in conditions:
            return _by_condition(obj, conditions[kind])
    if obj["apiVersion"].startswith("etl.router/"):
        return State(False, "waiting for the operator")
    if "replicas" in (obj.get("spec") or {}):
        wanted, ready = obj["spec"]["replicas"], status.get("readyReplicas", 0)
        return State(ready >= wanted, f"{ready} of {wanted} replicas ready")
    return State(True, "exists")


def _by_condition(obj: Object, condition: Mapping[str, object]) -> State:
    generation = obj["metadata"].get("generation", 0)
    seen = condition.get("observedGeneration", generation)
    if seen != generation:
        return State(False, "the operator has not observed the latest change yet")
    reason, message = str(condition.get("reason") or ""), str(condition.get("message") or "")
    return State(condition.get("status") == "True", ": ".join(part for part in (reason, message) if part))


def _being_deleted(obj: Object, conditions: Mapping[str, Mapping[str, object]]) -> State:
    """What a deletion waits for, if a condition says so."""
    blocked = conditions.get("DeletionBlocked")
    if blocked is not None and blocked.get("status") == "True":
        return State(False, f"being deleted, {_by_condition(obj, blocked).text}")
    ready = conditions.get("Ready")
    if ready is not None:
        state = _by_condition(obj, ready)
        if ready.get("status") != "True" and ready.get("observedGeneration") == obj["metadata"].get(
            "generation"
        ):
            return State(False, f"being deleted, {state.text}")
    return State(False, "being deleted")


class Progress:
    """Says what happens, and shows the state of a set of named objects.

    :param elapsed: seconds since the start, for the reader.
    :param stream: a terminal gets a table in place, anything else a line per change of readiness or reason.
    """

    def __init__(self, elapsed: Callable[[], float], stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._in_place = self._stream.isatty()
        self.elapsed = elapsed
        self._states: dict[str, State] = {}
        self._expected: frozenset[str] = frozenset()
        self._unready: set[str] = set()
        """Of the expected."""
        self._lines = 0

    def expect(self, names: Sequence[str]) -> None:
        """Show these from now on, in this order, such as ``EtlPipeline/user-analytics``."""
        self._expected = frozenset(names)
        self._unready = set(names)
        self._states = {name: State(False, "not created yet") for name in names}
        if self._in_place:
            self._draw()

    @property
    def is_waiting(self) -> bool:
        """Something expected is not ready. Asked after every change, so it does not look at all objects."""
        return bool(self._unready)

    @property
    def waiting(self) -> dict[str, str]:
        """What of the expected is not ready, with the reason."""
        return {name: state.text for name, state in self._states.items() if name in self._unready}

    def say(self, text: str) -> None:
        """A line that stays, above the table."""
        drawn = self._lines > 0
        self._erase()
        print(f"[{self.elapsed():5.1f}s] {text}", file=self._stream, flush=True)
        if drawn:
            self._draw()

    def update(self, name: str, state: State) -> None:
        """Show an object's new state, if it is one. An object that was not expected gets a row of its own."""
        before = self._states.get(name)
        if before == state:
            return
        self._states[name] = state
        if state.ready:
            self._unready.discard(name)
        elif name in self._expected:
            self._unready.add(name)
        if self._in_place:
            self._erase()
            self._draw()
        elif before is None or (before.ready, before.reason) != (state.ready, state.reason):
            # A line for every step of a count would bury the lines that matter.
            mark = "ready  " if state.ready else "waiting"
            print(f"[{self.elapsed():5.1f}s] {mark} {name}: {state.text}", file=self._stream, flush=True)

    def remove(self, name: str) -> None:
        """An object is gone. What was expected keeps its row."""
        if name in self._expected:
            self.update(name, State(False, "deleted"))
        elif self._states.pop(name, None) is not None:
            if self._in_place:
                self._erase()
                self._draw()
            else:
                print(f"[{self.elapsed():5.1f}s] deleted {name}", file=self._stream, flush=True)

    def _draw(self) -> None:
        columns, rows = shutil.get_terminal_size()
        # A table that is taller than the screen could not be taken back.
        shown = list(self._states.items())[: max(rows - 2, 1)]
        width = max((len(name) for name, _ in shown), default=0)
        lines = [(_mark(state), f"{name:<{width}}  {state.text}") for name, state in shown]
        hidden = list(self._states.values())[len(shown) :]
        if hidden:
            ready = sum(state.ready for state in hidden)
            lines.append((" ", f"and {len(hidden)} more, {ready} of them ready"))
        for sign, line in lines:
            # One visible line each: a wrapped line would break the way back up.
            print(f"  {sign} {line[: max(columns - 5, 10)]}", file=self._stream)
        self._stream.flush()
        self._lines = len(lines)

    def _erase(self) -> None:
        if self._lines:
            print(f"\x1b[{self._lines}A\x1b[J", end="", file=self._stream, flush=True)
            self._lines = 0


def _mark(state: State) -> str:
    return "\x1b[32m✔\x1b[0m" if state.ready else "\x1b[33m…\x1b[0m"
