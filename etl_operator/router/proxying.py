"""The CONNECT proxy that gRPC goes through by itself, for connections that are not gRPC's.

The environment is read as gRPC's core does it (``http_proxy_mapper.cc``): ``grpc_proxy``, ``https_proxy`` and
``http_proxy`` in this order; ``no_grpc_proxy``, or else ``no_proxy``, lists endings of host names that are
reached without one.
"""

from __future__ import annotations

import asyncio
import base64
import os
from urllib.parse import SplitResult, unquote, urlsplit

from etl_operator.router.endpoints import host_port

_HEAD_LIMIT = 16 * 1024


def proxy_of(host: str) -> str:
    """URL of the proxy that leads to a host; "" for none."""
    url = _first_of("grpc_proxy", "https_proxy", "http_proxy")
    without = _first_of("no_grpc_proxy", "no_proxy").split(",")
    direct = any(host.lower().endswith(one.strip().lower()) for one in without if one.strip())
    return "" if direct else url


def _first_of(*names: str) -> str:
    return next((os.environ[name] for name in names if os.environ.get(name)), "")


async def connect(proxy: str, host: str, port: int) -> str:
    """Have a proxy connect to a host, and hang up. Returns "" when it could, else what it said.

    :raises OSError: when the proxy itself cannot be reached, or breaks off.
    """
    url = urlsplit(proxy)
    reader, writer = await asyncio.open_connection(url.hostname, url.port or 80, limit=_HEAD_LIMIT)
    try:
        target = host_port(host, port)
        head = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{_authorization(url)}\r\n"
        writer.write(head.encode())
        try:
            line = (await reader.readuntil(b"\r\n")).decode("latin-1")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            raise ConnectionResetError("the proxy closed the connection") from None
    finally:
        writer.close()
    code, _, reason = line.strip().partition(" ")[2].partition(" ")
    return "" if code.startswith("2") else f"{code} {reason}".strip()


def _authorization(url: SplitResult) -> str:
    if not url.username:
        return ""
    words = f"{unquote(url.username)}:{unquote(url.password or '')}"
    return f"Proxy-Authorization: Basic {base64.b64encode(words.encode()).decode()}\r\n"
