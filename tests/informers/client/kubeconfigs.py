"""kubeconfig files for tests, and what their credentials send."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from informers.client import load_kubeconfig

SECRET = "s3cr3t-t0k3n"


class Clock:
    """A clock that tests set."""

    now = 1_800_000_000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now


def config(user: Any = None, cluster: Any = None, **context: Any) -> dict[str, Any]:
    return {
        "clusters": [{"name": "c", "cluster": {"server": "https://api.example:6443", **(cluster or {})}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", **context}}],
        "current-context": "x",
    }


def write(directory: Path, content: Any, name: str = "config") -> str:
    file = directory / name
    file.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
    return str(file)


async def header(path: str) -> str | None:
    return (await load_kubeconfig(path).credentials.current()).authorization
