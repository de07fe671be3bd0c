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

from etl_operator.sandbox.apiserver.kubeconfig import write_kubeconfig
from informers.objects import Object, ObjectKey, Resource
from tests.sandbox_apiserver.serving import comes_true, serving

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
EXAMPLE = DOCS / "examples" / "expiry.py"
CONFIG_MAP = Resource("", "v1", "configmaps", "ConfigMap")
EVENT = Resource("events.k8s.io", "v1", "events", "Event")


def config_map(name: str, **annotations: str) -> Object:
    metadata = {"namespace": "default", "name": name, "annotations": annotations}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


@contextlib.asynccontextmanager
async def example(kubeconfig: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """The example as a reader would start it."""
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(EXAMPLE), env=environment, stderr=asyncio.subprocess.PIPE
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


def test_the_examples_tests_pass() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(DOCS / "examples")],
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
    files = [file.read_text(encoding="utf-8") for file in sorted((DOCS / "examples").glob("*.py"))]
    assert len(blocks) == 6
    for block in blocks:
        assert any(block in text for text in files), block
