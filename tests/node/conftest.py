"""What a pipeline of a test ends in."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.node.data.services import FakeSink, listening


@pytest.fixture
async def sink() -> AsyncIterator[FakeSink]:
    """A sink service that listens; its name is ``out``."""
    async with listening(FakeSink()) as made:
        yield made
