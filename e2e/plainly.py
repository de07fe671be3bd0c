"""Plain HTTPS to the server of a kubeconfig, for what a client of Kubernetes hides: headers, raw bodies."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import yaml


@contextlib.asynccontextmanager
async def session(kubeconfig: Path) -> AsyncIterator[aiohttp.ClientSession]:
    """A session that trusts the server and has the user's token; paths are relative to the server."""
    found = yaml.safe_load(await asyncio.to_thread(kubeconfig.read_text, encoding="utf-8"))
    cluster, user = found["clusters"][0]["cluster"], found["users"][0]["user"]
    authority = cluster.get("certificate-authority-data")
    if authority is not None:
        trusted = ssl.create_default_context(cadata=base64.b64decode(authority).decode())
    else:
        trusted = ssl.create_default_context(cafile=cluster["certificate-authority"])
    connector = aiohttp.TCPConnector(ssl=trusted)
    headers = {"Authorization": f"Bearer {user['token']}"}
    async with aiohttp.ClientSession(cluster["server"], headers=headers, connector=connector) as made:
        yield made
