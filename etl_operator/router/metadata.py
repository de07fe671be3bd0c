"""gRPC metadata that a router node adds to answers, or reads from requests."""

from __future__ import annotations

from collections.abc import Iterable

BUFFER_KEY = "etl-buffer-trouble-bin"
"""At the end of GetPipeline and GetClusterStatus: why the durable buffer cannot be used, as UTF-8. Absent
while it can, without a durable buffer, and from published routers."""

OVERWRITE_KEY = "etl-overwrite"
"""Of RestoreSnapshot; the published message has no field for it. ``true``: the cluster need not be empty."""


def buffer_trouble(trailing: Iterable[tuple[str, str | bytes]] | None) -> str:
    """The value of `BUFFER_KEY`; empty if it is absent."""
    for key, value in trailing or ():
        if key == BUFFER_KEY:
            return value.decode(errors="replace") if isinstance(value, bytes) else value
    return ""
