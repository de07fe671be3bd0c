"""The reconcile that is under way, for whoever runs inside it: log lines, spans, the input gate.

It travels in a context variable, so tasks and threads that a reconcile starts know it as well.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import NamedTuple

from informers.controller.reads import Reads
from informers.objects import ObjectKey
from informers.queue import Work


class Reconcile(NamedTuple):
    """One call of a reconciler.

    :param controller: its name.
    :param process: what tells the ids of this process from others.
    :param work: the key, and why it was in the queue.
    :param reads: notes what is read, for the input gate; ``None`` without one.
    """

    controller: str
    process: str
    work: Work
    reads: Reads | None

    @property
    def key(self) -> ObjectKey:
        """What is reconciled."""
        return self.work.key

    @property
    def causes(self) -> tuple[str, ...]:
        """Why the key was in the queue."""
        return self.work.causes

    @property
    def id(self) -> str:
        """Names this call in logs and spans; unlike that of any other call, also of other processes."""
        return f"{self.process}-{self.work.number}"

    def fields(self) -> dict[str, object]:
        """What a structured log line says of it."""
        return {
            "controller": self.controller,
            "key": self.key,
            "causes": ", ".join(self.causes),
            "reconcile": self.id,
        }


CURRENT: ContextVar[tuple[str, str, Work, Reads | None] | None] = ContextVar("reconcile", default=None)
"""Set by the controller's workers, for every call: what makes a :class:`Reconcile`, if anybody asks."""


def current() -> Reconcile | None:
    """The reconcile the caller is part of, or ``None``."""
    found = CURRENT.get()
    return Reconcile(*found) if found is not None else None
