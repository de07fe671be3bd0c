"""The examples of docs/runtime.md run: by themselves on a real server, and their own tests."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import yaml

from etl_operator.sandbox.http.files.kubeconfig import write_kubeconfig
from informers.objects import Object, ObjectKey, Resource
from tests.sandbox.http.serving import comes_true, serving

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
EXAMPLES = DOCS / "examples"
CONFIG_MAP = Resource("", "v1", "configmaps", "ConfigMap")
WEBSITE = Resource("example.com", "v1", "websites", "Website")
STATEFUL_SET = Resource("apps", "v1", "statefulsets", "StatefulSet")
LEASE = Resource("coordination.k8s.io", "v1", "leases", "Lease")
EVENT = Resource("events.k8s.io", "v1", "events", "Event")


def config_map(name: str, **annotations: str) -> Object:
    metadata = {"namespace": "default", "name": name, "annotations": annotations}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


@contextlib.asynccontextmanager
async def example(
    kubeconfig: Path, program: Path = EXAMPLES / "expiry.py", *arguments: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """The example as a reader would start it."""
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(program), *arguments, env=environment, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_the_example_does_on_a_server_what_it_says_until_it_is_told_to_stop(tmp_path: Path) -> None:
    async with serving() as server:
        write_kubeconfig(tmp_path / "kubeconfig", server.admin_kubeconfig())
        ttl = "example.com/ttl"
        for obj in (
            config_map("short", **{ttl: "2"}),
            config_map("long", **{ttl: "3600"}),
            config_map("odd", **{ttl: "soon"}),
            config_map("none"),
        ):
            server.core.create(obj)

        def there(name: str) -> bool:
            return server.core.find(CONFIG_MAP, ObjectKey("default", name)) is not None

        def told() -> bool:
            return any(event["reason"] == "Expired" for event in server.core.all(EVENT))

        async with example(tmp_path / "kubeconfig") as process:
            await comes_true(lambda: not there("short"), what="the short-lived one is deleted")
            await comes_true(told, what="an event says so")
            server.core.edit(
                CONFIG_MAP,
                ObjectKey("default", "odd"),
                lambda obj: {**obj, "metadata": {**obj["metadata"], "annotations": {ttl: "1"}}},
            )
            await comes_true(lambda: not there("odd"), what="the corrected one is deleted")
            assert there("long")
            assert there("none")
            assert process.returncode is None
            process.terminate()
            _, said = await process.communicate()
            assert process.returncode == 0, said
            # What has failed, and of what, is on one line.
            assert re.search(
                rb"reconcile failed: example.com/ttl: .*soon.*controller=expiry key=default/odd", said
            )
            assert b"stopping" in said


async def test_the_resource_of_one_s_own_does_on_a_server_what_it_says(tmp_path: Path) -> None:
    async with serving() as server:
        write_kubeconfig(tmp_path / "kubeconfig", server.admin_kubeconfig())
        key, definition = (
            ObjectKey("default", "shop"),
            yaml.safe_load((EXAMPLES / "websites.yaml").read_text()),
        )
        server.core.create(definition)
        await comes_true(lambda: server.core.registry.of(WEBSITE), what="the definition is served")
        spec, metadata = {"image": "web:1"}, {"namespace": key.namespace, "name": key.name}
        website = {"apiVersion": "example.com/v1", "kind": "Website", "metadata": metadata, "spec": spec}
        server.core.create(website)

        def ready() -> str | None:
            status = (server.core.find(WEBSITE, key) or {}).get("status", {})
            return next((one["status"] for one in status.get("conditions", ())), None)

        def holder() -> str:
            lease = server.core.find(LEASE, ObjectKey("default", "websites")) or {"spec": {}}
            return str(lease["spec"].get("holderIdentity") or "")

        arguments = ("--identity", "one", "--namespace", key.namespace)
        async with example(tmp_path / "kubeconfig", EXAMPLES / "websites.py", *arguments) as process:
            await comes_true(lambda: ready() == "False", what="it waits for its replicas")
            assert holder() == "one"
            counts = {"replicas": 1, "readyReplicas": 1}
            server.core.edit(STATEFUL_SET, key, lambda obj: {**obj, "status": counts}, subresource="status")
            await comes_true(lambda: ready() == "True", what="it is ready")
            process.terminate()
            _, said = await process.communicate()
            assert (process.returncode, holder()) == (0, ""), said


def test_the_examples_tests_pass() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLES)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^\d\d passed", done.stdout, re.MULTILINE)


def test_the_page_shows_the_examples_as_they_are() -> None:
    page = (DOCS / "runtime.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    files = [file.read_text(encoding="utf-8") for file in sorted(EXAMPLES.glob("*.py"))]
    assert len(blocks) == 6
    for block in blocks:
        assert any(block in text for text in files), block
