"""A server of the sandbox, and the HTTP session of its administrator."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from etl_operator.sandbox.http.server import EmbeddedServer
from tests.sandbox.http.serving import browsing, serving


@pytest.fixture
async def server() -> AsyncIterator[EmbeddedServer]:
    """A server on a free port."""
    async with serving() as made:
        yield made


@pytest.fixture
async def http(server: EmbeddedServer) -> AsyncIterator[aiohttp.ClientSession]:
    """A session with the administrator's token."""
    async with browsing(server) as session:
        yield session
