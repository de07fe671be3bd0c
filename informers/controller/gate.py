"""The input gate: a pure reconcile whose inputs have not moved since its last success is not run again.

A reconciler may be *declared pure* by giving its controller a :class:`Gate`. Pure means: what it does is a
function of what it reads through the gate, and doing it twice is doing it once. The gate then notes every
read of a run, with its answer's version, and compares them when the key comes up again.

What makes a run necessary, and the gate open, is exactly one of these:

* there was no success since the process started, or the last run failed;
* an answer that was read has another version now, or is gone, or has come into being;
* the run asked to look again after some seconds, and they are over; or its success is older than ``max_age``;
* someone asked for a run in any case (``Controller.enqueue(..., force=True)``, :meth:`Gate.forget`);
* nothing was read, or one question got two answers within one run: no telling what it depends on.

Time, random numbers, other servers and objects read past the gate are no versions. A reconciler that depends
on them must say so with :meth:`Gate.depends`, or stay without a gate.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

from informers.cache.informer import Informer
from informers.controller.current import CURRENT
from informers.controller.reads import Question, Reads, identities, identity
from informers.objects import Object, ObjectKey, Resource, Result
from informers.views.view import View

MAX_AGE = 600.0
"""Seconds a success stands at most."""

CAPACITY = 200_000
"""Keys whose last success is remembered; the oldest successes are forgotten first."""


class GatedInformer:
    """An informer for a pure reconciler: reads as usual, and notes them for the gate."""

    def __init__(self, informer: Informer) -> None:
        self._informer = informer

    @property
    def informer(self) -> Informer:
        """What is read through the gate."""
        return self._informer

    @property
    def resource(self) -> Resource:
        """What the informer watches."""
        return self._informer.resource

    def get(self, key: ObjectKey) -> View | None:
        """The object, or ``None``. An object that is not there is an input as well."""
        reads = _reads()
        if reads is None:
            return self._informer.get(key)
        inputs = reads.before(self._informer)
        view = self._informer.get(key)
        reads.note(inputs, key, identity(view))
        return view

    def list(self, namespace: str | None = None) -> Sequence[View]:
        """Every object, or those of one namespace; all of them are inputs."""
        question = ("all", "", "") if namespace is None else ("namespace", namespace, "")
        return self._many(question, lambda: self._informer.list(namespace))

    def by_index(self, name: str, value: str) -> Sequence[View]:
        """Objects filed under a value; all of them are inputs.

        :raises KeyError: when there is no such index.
        """
        return self._many(("index", name, value), lambda: self._informer.by_index(name, value))

    def written(self, obj: Object) -> None:
        """Show the answer to a write to every reader from now on."""
        self._informer.written(obj)

    def _many(self, question: Question, ask: Callable[[], Sequence[View]]) -> Sequence[View]:
        reads = _reads()
        if reads is None:
            return ask()
        inputs = reads.before(self._informer)
        views = ask()
        reads.note(inputs, question, identities(views))
        return views


class Gate:
    """Remembers of every key what its last success has read. For one controller.

    :param max_age: seconds after which a success does not count any more; ten minutes by default. Bounds the
        damage of a reconciler that is not as pure as it was said to be.
    :param capacity: keys remembered.
    """

    def __init__(self, *, max_age: float = MAX_AGE, capacity: int = CAPACITY) -> None:
        if max_age <= 0 or capacity < 1:
            raise ValueError("a gate needs a positive age and capacity")
        self._max_age = max_age
        self._capacity = capacity
        self._successes: dict[ObjectKey, Reads] = {}
        self._running: dict[ObjectKey, Reads] = {}
        self._owner = ""

    # -- for reconcilers ----------------------------------------------------------------------------

    def reads(self, informer: Informer) -> GatedInformer:
        """The informer as the reconciler must read it."""
        return GatedInformer(informer)

    def depends(self, probe: Callable[[], Hashable]) -> Hashable:
        """Note an input that is no object: a function of no arguments that is cheap, and returns a version.

        Keep the function: it is told apart by identity, and asked again whenever the key comes up.

        :returns: what the probe said.
        """
        reads = _reads()
        return reads.probe(probe) if reads is not None else probe()

    def forget(self, key: ObjectKey) -> None:
        """Run the key in any case when it comes up next. A run that is under way does not count."""
        self._successes.pop(key, None)
        running = self._running.get(key)
        if running is not None:
            running.consistent = False

    # -- for the controller -------------------------------------------------------------------------

    def claim(self, controller: str) -> None:
        """Belong to a controller.

        :raises ValueError: when the gate belongs to one already; their keys would mix.
        """
        if self._owner:
            raise ValueError(f"the gate belongs to controller {self._owner}")
        self._owner = controller

    def unmoved(self, key: ObjectKey, now: float) -> float | None:
        """Whether a run can be skipped: then when the last one wanted the next look (infinite for never),
        else ``None``.

        :param now: reading of a monotonic clock, always of the same one.
        """
        success = self._successes.get(key)
        if success is None or now >= success.expires or not success.unmoved():
            return None
        return success.due

    def begin(self, key: ObjectKey) -> Reads:
        """A run begins; the last success is void."""
        self._successes.pop(key, None)
        reads = self._running[key] = Reads()
        return reads

    def end(self, key: ObjectKey, now: float, result: Result | None) -> None:
        """A run has ended; with ``None`` in place of a result, it failed."""
        reads = self._running.pop(key)
        if result is None or not reads.usable:
            return
        if result.requeue_after is not None:
            reads.due = now + result.requeue_after
        reads.expires = min(reads.due, now + self._max_age)
        self._successes[key] = reads
        while len(self._successes) > self._capacity:
            del self._successes[next(iter(self._successes))]

    @property
    def remembered(self) -> int:
        """Keys whose last success is known."""
        return len(self._successes)


def _reads() -> Reads | None:
    found = CURRENT.get()
    return found[3] if found is not None else None
