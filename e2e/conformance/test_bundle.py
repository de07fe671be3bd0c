"""The committed bundle of built-in schemas is what a real server of its version serves today."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from informers.apiserver.schema.bundle import VERSION, definitions
from informers.apiserver.schema.bundle.make import bundle, documents, served_version
from informers.client import Client


def differences(committed: Any, live: Any, path: str) -> Iterator[str]:
    """One line for each place where two JSON values differ."""
    if isinstance(committed, dict) and isinstance(live, dict):
        for key in sorted(committed.keys() | live.keys()):
            where = f"{path}/{key}"
            if key not in live:
                yield f"{where}: only in the bundle"
            elif key not in committed:
                yield f"{where}: only on the server"
            else:
                yield from differences(committed[key], live[key], where)
    elif committed != live:
        yield f"{path}: {committed!r} in the bundle, {live!r} on the server"


async def test_the_bundle_is_what_the_server_serves(client: Client, cluster: str) -> None:
    if cluster == "sandbox":
        pytest.skip("the sandbox serves this very bundle; --cluster real compares it")
    found = await served_version(client)
    if found != VERSION:
        pytest.skip(f"the bundle is of {VERSION}, the server of {found}")
    live = bundle((await documents(client)).values())
    told = list(differences(definitions(), live, ""))
    assert not told, "run informers/apiserver/schema/bundle/make.py:\n" + "\n".join(told[:50])
