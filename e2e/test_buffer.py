"""The sandbox with a durable buffer: records move through a real NATS server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import nats
import nats.errors
import pytest

from e2e.running import SAMPLES, Sandbox, eventually
from e2e.scene import Scene, condition
from etl_operator.api import CLUSTER, PIPELINE
from informers.client import Client, HttpTransport, load_kubeconfig
from informers.objects import Object, ObjectKey
from tests.hanging import HANGS
from tests.node.buffer.servers import needs_server

Start = Callable[..., Sandbox]

pytestmark = needs_server
WITH_NATS = pytest.mark.sandbox_only("only the sandbox has --buffer")

STREAM = "default_my-cluster_records_default_user-analytics"


async def _stored(url: str, stream: str) -> tuple[int, int]:
    """Messages that were ever stored in a stream, and those that are still there."""
    client = await nats.connect(url, max_reconnect_attempts=1, connect_timeout=5)
    try:
        state = (await client.jetstream().stream_info(stream)).state
        return state.last_seq, state.messages
    finally:
        await client.close()


@WITH_NATS
def test_the_demo_moves_its_records_through_nats(start_sandbox: Start) -> None:
    demo = start_sandbox("--until-ready", "--timeout", "600", "--buffer", "nats")
    url = None
    seen = (0, 0)
    while demo.process.poll() is None:
        # Looked at as long as it runs: its server ends with it.
        found = re.search(r"NATS server at (\S+),", demo.output)
        url = found[1] if found else url
        if url is not None:
            with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
                seen = asyncio.run(_stored(url, STREAM))
        time.sleep(0.2)
    assert demo.process.wait(HANGS) == 0, demo.output
    assert seen[0] > 0, demo.output
    said = re.search(r"10000 records arrived: (\d+) filtered, 0 dead-lettered, (\d+) written", demo.output)
    assert said is not None, demo.output
    output = re.search(r"output: (\S+)", demo.output)
    assert output is not None
    records = [json.loads(line) for line in Path(output[1]).read_text(encoding="utf-8").splitlines()]
    assert len(records) == int(said[2])
    assert len({one["sequence_number"] for one in records}) >= 10_000 - int(said[1])
    demo.wait_for_no_process()


@WITH_NATS
async def test_a_server_that_is_away_is_named_and_missed_no_longer(start_sandbox: Start) -> None:
    sandbox = start_sandbox(*SAMPLES, "--buffer", "nats")
    sandbox.wait_for_output("everything is Ready")
    client = Client(HttpTransport(load_kubeconfig(str(sandbox.kubeconfig))))
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(client.close)
        cluster, pipeline = ObjectKey("default", "my-cluster"), ObjectKey("default", "user-analytics")

        async def healthy() -> bool:
            seen = (await client.get(CLUSTER, cluster))["status"]["buffer"]
            return bool(seen == {"type": "Nats", "healthy": True})

        await eventually(healthy, what="the members are connected")
        [server] = [int(one.split()[0]) for one in sandbox.processes() if "nats-server" in one]
        # Not killed: the sandbox would start it again.
        os.kill(server, signal.SIGSTOP)
        try:

            async def named() -> bool:
                seen = (await client.get(CLUSTER, cluster))["status"]["buffer"]
                text = "my-cluster-0: NATS at nats://127.0.0.1"
                return not seen["healthy"] and text in seen["message"]

            await eventually(named, what="the status of the cluster names the members")

            async def degraded() -> bool:
                await client.patch(
                    PIPELINE, pipeline, {"metadata": {"annotations": {"poke": str(time.monotonic())}}}
                )
                conditions = (await client.get(PIPELINE, pipeline))["status"]["conditions"]
                found = {one["type"]: one for one in conditions}
                assert found["Ready"]["status"] == "True"
                return bool(found.get("Degraded", {}).get("reason") == "BufferUnavailable")

            await eventually(degraded, what="the pipeline is degraded", every=2.0)
        finally:
            os.kill(server, signal.SIGCONT)
        await eventually(healthy, what="the members are connected again")


@pytest.mark.asyncio(loop_scope="function")
async def test_a_missing_secret_with_the_credentials_is_named(scene: Scene) -> None:
    nats = {"urls": ["nats://127.0.0.1:1"], "credentialsSecretName": "not-there-yet"}
    await scene.cluster("buffered", buffer={"type": "Nats", "nats": nats})
    cause = 'buffered-0: volume "nats": secret "not-there-yet" not found (FailedMount)'

    def named(obj: Object) -> bool:
        return cause in condition(obj).get("message", "")

    await scene.until(CLUSTER, "buffered", named, "the missing Secret is named")
