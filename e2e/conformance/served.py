"""What a server says it serves, in a form that can be compared: discovery and the columns of tables.

``python -m e2e.conformance.served KUBECONFIG`` records that of a real kube-apiserver of the pinned version.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from e2e.realserver import version
from informers.client import HttpTransport, load_kubeconfig
from informers.client.transport import HttpRequest

RECORDED = Path(__file__).with_name("served.json")

_TABLE = "application/json;as=Table;g=meta.k8s.io;v=v1"
_COMPARED = ("kind", "group", "version", "namespaced", "verbs", "shortNames", "categories", "singularName")


async def served(transport: HttpTransport) -> dict[str, Any]:
    """Every resource and subresource by ``groupVersion/name``, with its columns where it can be listed.

    Groups of custom resources are left out: tests beside this one may have some.
    """
    return {name: entry async for name, entry in _resources(transport)}


async def _resources(transport: HttpTransport) -> AsyncIterator[tuple[str, Mapping[str, Any]]]:
    groups = (await _get(transport, "/apis"))["groups"]
    versions = [one["groupVersion"] for group in groups for one in group["versions"]]
    builtin = [one for one in versions if _is_builtin(one)]
    for group_version in ("v1", *builtin):
        root = "/api/v1" if group_version == "v1" else f"/apis/{group_version}"
        for resource in (await _get(transport, root))["resources"]:
            entry = {key: resource[key] for key in _COMPARED if resource.get(key) not in (None, "", [])}
            entry["verbs"] = sorted(entry["verbs"])
            if "list" in entry["verbs"]:
                entry["columns"] = _columns(
                    await _get(transport, f"{root}/{resource['name']}?limit=1", _TABLE)
                )
            yield f"{group_version}/{resource['name']}", entry


def _is_builtin(group_version: str) -> bool:
    group = group_version.partition("/")[0]
    return "." not in group or group.endswith(".k8s.io")


def _columns(table: Mapping[str, Any]) -> list[list[Any]]:
    return [[one["name"], one["type"], one["format"], one["priority"]] for one in table["columnDefinitions"]]


async def _get(transport: HttpTransport, target: str, accept: str = "application/json") -> dict[str, Any]:
    path, _, query = target.partition("?")
    pairs = tuple((key, value) for key, _, value in (one.partition("=") for one in query.split("&") if one))
    response = await transport.request(HttpRequest("GET", path, pairs, accept=accept))
    assert response.status == 200, (target, response.status, response.body)
    answer: dict[str, Any] = json.loads(response.body)
    return answer


async def _record(kubeconfig: str) -> None:
    transport = HttpTransport(load_kubeconfig(kubeconfig))
    try:
        running = (await _get(transport, "/version"))["gitVersion"]
        if running != version():
            raise SystemExit(f"the server is {running}; recorded are the answers of {version()}")
        found = await served(transport)
    finally:
        await transport.close()
    text = json.dumps(found, indent=1, sort_keys=True) + "\n"
    await asyncio.to_thread(RECORDED.write_text, text, encoding="utf-8")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m e2e.conformance.served")
    parser.add_argument("kubeconfig", help="of a kube-apiserver of the pinned version")
    asyncio.run(_record(parser.parse_args().kubeconfig))


if __name__ == "__main__":
    main()
