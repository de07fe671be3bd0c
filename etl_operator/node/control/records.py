"""What the control side asks about records, wherever they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Counters(Protocol):
    """One stage, on all members."""

    @property
    def processed(self) -> int:
        """Records that left it."""

    @property
    def buffered(self) -> int:
        """Records that wait for it or are in its calls."""

    @property
    def errors(self) -> int:
        """Records that failed finally."""

    @property
    def average_ms(self) -> float:
        """Of its calls."""


class Records(Protocol):
    """The records of all members."""

    async def pending(self, pipeline_id: str, applied: int) -> int:
        """Records taken and not decided; at least 1 for a member that may not know log entry ``applied``."""

    async def known_pending(self, pipeline_id: str) -> int:
        """The same, of the members that answer."""

    async def stages(self, pipeline_id: str) -> Mapping[str, Counters]:
        """Counters by stage."""

    @property
    def buffer_trouble(self) -> str:
        """Why this node cannot store records in its durable buffer; empty if it can, and without one."""

    async def buffer_trouble_of(self, pipeline_id: str) -> str:
        """The same of one pipeline on all members."""

    async def outstanding(self, service_id: str) -> int:
        """Records in this node's calls of a service. One that is registered no longer gets no new call."""


class NoRecords:
    """`Records` of a node without a data plane."""

    buffer_trouble = ""

    async def buffer_trouble_of(self, pipeline_id: str) -> str:
        """None."""
        return ""

    async def pending(self, pipeline_id: str, applied: int) -> int:
        """None."""
        return 0

    async def known_pending(self, pipeline_id: str) -> int:
        """None."""
        return 0

    async def stages(self, pipeline_id: str) -> Mapping[str, Counters]:
        """None."""
        return {}

    async def outstanding(self, service_id: str) -> int:
        """None."""
        return 0
