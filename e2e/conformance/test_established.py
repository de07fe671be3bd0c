"""A new custom kind: what is served when its definition says that it is."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from e2e.conformance.asking import ask, found
from informers.client import HttpTransport
from informers.client.transport import HttpRequest
from informers.objects import Object
from tests.definitions import definition

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def named(plural: str) -> Object:
    """A definition of a kind with this plural."""
    schema: Object = {"type": "object"}
    return definition(plural.capitalize(), f"{plural}.example.com", schema, names={"plural": plural})


@pytest.fixture
async def new(request: pytest.FixtureRequest, transport: HttpTransport) -> AsyncIterator[Object]:
    """A definition that nobody has made yet; taken away in the end."""
    plural = f"news{zlib.crc32(request.node.name.encode())}"
    made = named(plural)
    yield made
    await ask(transport, "DELETE", f"{DEFINITIONS}/{made['metadata']['name']}")


def conditions(obj: Object) -> dict[str, tuple[str, str]]:
    shown = obj["status"].get("conditions") or ()
    return {one["type"]: (one["status"], one["reason"]) for one in shown}


async def events(transport: HttpTransport, made: Object) -> AsyncIterator[Object]:
    """The definition at every change from its creation on, until it is established."""
    query = (("watch", "1"), ("fieldSelector", f"metadata.name={made['metadata']['name']}"))
    _, listed = await found(transport, "GET", DEFINITIONS)
    since = ("resourceVersion", listed["metadata"]["resourceVersion"])
    async with transport.stream(HttpRequest("GET", DEFINITIONS, (*query, since))) as stream:
        code, created = await found(transport, "POST", DEFINITIONS, body=made)
        assert code == 201
        assert created["status"]["conditions"] is None
        rest = b""
        async for chunk in stream.chunks():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                obj = json.loads(line)["object"]
                yield obj
                if conditions(obj).get("Established", ("",))[0] == "True":
                    return


async def status(transport: HttpTransport, method: str, path: str, **more: Any) -> int:
    """The code of an answer; a real server may still prepare its storage, and asks to be asked again."""
    while True:
        answer = await ask(transport, method, path, **more)
        if answer.status != 429:
            return answer.status
        await asyncio.sleep(float(answer.headers["retry-after"]))


async def test_what_is_established_is_served(transport: HttpTransport, new: Object) -> None:
    group, plural = new["spec"]["group"], new["spec"]["names"]["plural"]
    seen = [conditions(obj) async for obj in events(transport, new)]
    assert await status(transport, "GET", f"/apis/{group}/v1/{plural}") == 200
    body = {"apiVersion": f"{group}/v1", "kind": plural.capitalize(), "metadata": {"name": "first"}}
    path = f"/apis/{group}/v1/namespaces/default/{plural}"
    assert await status(transport, "POST", path, body=body) == 201
    accepted = {"NamesAccepted": ("True", "NoConflicts")}
    assert seen == [
        {},
        {**accepted, "Established": ("False", "Installing")},
        {**accepted, "Established": ("True", "InitialNamesAccepted")},
    ]


@pytest.mark.sandbox_only("a real server lists a resource a moment after it is established")
async def test_what_is_accepted_is_discovered(transport: HttpTransport, new: Object) -> None:
    group, plural = new["spec"]["group"], new["spec"]["names"]["plural"]
    async for obj in events(transport, new):
        if not conditions(obj):
            continue
        assert (await ask(transport, "GET", f"/apis/{group}/v1/{plural}")).status == 200
        _, resources = await found(transport, "GET", f"/apis/{group}/v1")
        assert [one["name"] for one in resources["resources"]] == [plural]
        _, groups = await found(transport, "GET", "/apis")
        assert group in [one["name"] for one in groups["groups"]]
        _, schemas = await found(transport, "GET", "/openapi/v3")
        assert f"apis/{group}/v1" in schemas["paths"]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on PATH")
async def test_kubectl_creates_and_waits(transport: HttpTransport, server: Path, tmp_path: Path) -> None:
    def kubectl(*arguments: str) -> str:
        done = subprocess.run(
            ["kubectl", "--kubeconfig", str(server), *arguments],
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    for number in range(4):
        made = named(f"waited{number}")
        file = tmp_path / f"{number}.json"
        file.write_text(json.dumps(made), encoding="utf-8")
        kubectl("create", "-f", str(file))
        name = made["metadata"]["name"]
        try:
            kubectl("wait", "--for=condition=Established", "--timeout=30s", f"crd/{name}")
        finally:
            await ask(transport, "DELETE", f"{DEFINITIONS}/{name}")
