"""Where a node's records are: in this process, or in workers. The rest of the bridge does not see which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from etl_operator.node.data.plane import DataPlane
from etl_operator.node.data.view import Offset, Progress, Report, Snapshot


class Plane(Protocol):
    """The data plane of a node."""

    @property
    def is_serving(self) -> bool:
        """Sources can connect."""

    @property
    def buffer_trouble(self) -> str:
        """Why no record can be stored in the durable buffer, as far as it is known without asking."""

    def start(self) -> None:
        """Begin to load what it needs."""

    def open(self) -> None:
        """The control services answer from now on: serve sources."""

    def update(self, snapshot: Snapshot) -> None:
        """Pipelines and services as they are now."""

    async def report(self, only: str = "") -> Report:
        """What this node holds and did, by the last snapshot if it answers in time.

        :param only: id of the one pipeline to report; empty for all.
        """

    async def progress_due(self) -> None:
        """Wait until so much was done that it should be committed."""

    async def progress(self) -> Progress:
        """All that is done and was not confirmed as committed."""

    def confirm(self, progress: Progress) -> None:
        """``progress`` has been committed."""

    def passed_elsewhere(self, offsets: Sequence[Offset]) -> None:
        """The cluster has delivered these partitions so far, whichever member did."""

    async def leave(self, seconds: float) -> None:
        """Take nothing more, and bring to its end what is in progress within ``seconds``."""

    async def close(self) -> None:
        """Let everything go."""


class InProcess:
    """A `Plane` in this process."""

    is_serving = True

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self.update = plane.update
        self.progress_due = plane.progress_due
        self.confirm = plane.confirm
        self.passed_elsewhere = plane.passed_elsewhere
        self.close = plane.close

    @property
    def buffer_trouble(self) -> str:
        """See `Plane`."""
        return self._plane.buffer_trouble

    def start(self) -> None:
        """Everything is loaded."""

    def open(self) -> None:
        """The node's own server serves it."""

    async def report(self, only: str = "") -> Report:
        """See `Plane`."""
        if only:
            await self._plane.refresh(only)
        return self._plane.report(only)

    async def progress(self) -> Progress:
        """See `Plane`."""
        return self._plane.progress()

    async def leave(self, seconds: float) -> None:
        """See `Plane`."""
        await self._plane.leave(seconds)
