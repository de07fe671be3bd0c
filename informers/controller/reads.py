"""What one run of a reconciler has read, for the input gate: questions, and the versions of their answers."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TypeAlias

from informers.cache.informer import Informer
from informers.errors import Detached
from informers.objects import ObjectKey
from informers.views.view import View

_NEVER = float("inf")

Question: TypeAlias = ObjectKey | tuple[str, str, str]
"""A key, or a list: of all, of one namespace, or what an index files under a value."""


class Inputs:
    """What was read of one informer.

    :param revision: the informer's before the first of these reads.
    """

    __slots__ = ("answers", "informer", "revision")

    def __init__(self, informer: Informer, revision: int) -> None:
        self.informer = informer
        self.revision = revision
        self.answers: dict[Question, Hashable] = {}

    def unmoved(self) -> bool:
        """Whether every question would be answered as it was; for when the informer has moved."""
        revision = self.informer.revision
        try:
            for question, answer in self.answers.items():
                if _version(self.informer, question) != answer:
                    return False
        except Detached:
            # The run asks again, and is told.
            return False
        # The same answers at a later time: next time it may be enough to look at the revision.
        self.revision = revision
        return True


class Reads:
    """The reads of one run. ``consistent`` turns false when what it depends on cannot be told."""

    __slots__ = ("_inputs", "consistent", "due", "expires", "probes")

    def __init__(self) -> None:
        self.consistent = True
        self.due = _NEVER
        """When the run wants the next look, on the controller's clock."""
        self.expires = _NEVER
        """When the success ends."""
        self.probes: dict[Callable[[], Hashable], Hashable] = {}
        self._inputs: dict[int, Inputs] = {}

    def before(self, informer: Informer) -> Inputs:
        """The notes on one informer; to be called before it is asked."""
        inputs = self._inputs.get(id(informer))
        if inputs is None:
            inputs = self._inputs[id(informer)] = Inputs(informer, informer.revision)
        return inputs

    def note(self, inputs: Inputs, question: Question, answer: Hashable) -> None:
        """One answer. A second, different one to the same question spoils the run."""
        if inputs.answers.setdefault(question, answer) != answer:
            self.consistent = False

    def probe(self, probe: Callable[[], Hashable]) -> Hashable:
        """Ask a probe, and note its answer."""
        answer = probe()
        if self.probes.setdefault(probe, answer) != answer:
            self.consistent = False
        return answer

    @property
    def usable(self) -> bool:
        """Whether these reads say what the run depends on."""
        return self.consistent and bool(self._inputs or self.probes)

    def unmoved(self) -> bool:
        """Whether everything would be answered as it was."""
        for inputs in self._inputs.values():
            if inputs.informer.revision != inputs.revision and not inputs.unmoved():
                return False
        try:
            return not self.probes or all(probe() == answer for probe, answer in self.probes.items())
        except Exception:
            # The run asks again: there it fails like any other, with a log line and a retry.
            return False


def identity(view: View | None) -> Hashable:
    """The version of one answer; ``None`` when there is no object."""
    return (view.uid, view.resource_version) if view is not None else None


def identities(views: Iterable[View]) -> Hashable:
    """The version of a list, in any order."""
    return frozenset((view.key, view.uid, view.resource_version) for view in views)


def _version(informer: Informer, question: Question) -> Hashable:
    """The answer of now."""
    if isinstance(question, ObjectKey):
        return identity(informer.get(question))
    what, name, value = question
    if what == "index":
        return identities(informer.by_index(name, value))
    return identities(informer.list(name if what == "namespace" else None))
