"""The main job, as a new user sees it: one command, then everything is Ready or one knows why not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from e2e.running import SAMPLES, Sandbox
from etl_operator.api.resources import SOURCE
from informers.client import Client, HttpTransport, load_kubeconfig
from informers.objects import ObjectKey
from tests.hanging import HANGS

Start = Callable[..., Sandbox]


def test_the_demo_ends_by_itself_once_all_records_have_come(start_sandbox: Start) -> None:
    demo = start_sandbox("--until-ready", "--timeout", "600")
    assert demo.process.wait(HANGS) == 0, demo.output
    for sample in (
        "EtlRouterCluster/my-cluster",
        "EtlPipeline/user-analytics",
        "EtlSource/kafka-users",
        *(f"Deployment/{name}" for name in ("kafka-users", "filter-active", "enrich-geo")),
        "Deployment/clickhouse-analytics",
    ):
        assert f"ready   {sample}" in demo.output
    assert "everything is Ready" in demo.output
    said = re.search(
        r"10000 records arrived: (\d+) filtered, (\d+) dead-lettered, (\d+) written, \d+ records/s",
        demo.output,
    )
    assert said is not None, demo.output
    filtered, letters, written = map(int, said.groups())
    assert letters == 0 and filtered and filtered + written >= 10_000
    # Kept with --state-dir: every record that is not filtered, with what the transforms made of it.
    output = re.search(r"output: (\S+)", demo.output)
    assert output is not None
    records = [json.loads(line) for line in Path(output[1]).read_text(encoding="utf-8").splitlines()]
    assert len(records) == written
    assert all(one["payload"]["active"] and one["payload"]["continent"] for one in records)
    # Delivery is at least once: a batch can come again, a record cannot be missing.
    assert len({one["sequence_number"] for one in records}) >= 10_000 - filtered
    demo.wait_for_no_process()
    assert not demo.kubeconfig.exists()


def test_what_is_not_ready_in_time_is_named_with_its_reason(start_sandbox: Start, tmp_path: Path) -> None:
    manifest = tmp_path / "lonely.yaml"
    manifest.write_text(
        """
apiVersion: etl.router/v1
kind: EtlPipeline
metadata: {name: lonely}
spec: {source: nowhere, steps: [], sink: nothing}
""",
        encoding="utf-8",
    )
    sandbox = start_sandbox("--manifests", str(manifest), "--until-ready", "--timeout", "15")
    assert sandbox.process.wait(HANGS) == 1, sandbox.output
    assert "not Ready after 15 s" in sandbox.output
    assert "EtlPipeline/lonely: ClusterNotFound" in sandbox.output
    assert "--state-dir DIR" not in sandbox.output, "it was given"
    sandbox.wait_for_no_process()


def test_who_loses_the_logs_is_told_how_to_keep_them(tmp_path: Path) -> None:
    manifest = tmp_path / "lonely.yaml"
    manifest.write_text(
        "{apiVersion: etl.router/v1, kind: EtlPipeline, metadata: {name: one}, spec: {source: a, sink: b}}",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "etl_operator.cli", "sandbox", "--until-ready", "--timeout", "1"]
    command += ["--manifests", str(manifest), "--kubeconfig", str(tmp_path / "kubeconfig")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANGS, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "--state-dir DIR to keep the logs" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "not valid YAML"),
        ("kind: EtlSink\nmetadata: {name: x}\n", "has no apiVersion"),
        (None, "no such file or directory"),
    ],
)
def test_manifests_that_cannot_be_read_end_it_at_once(
    start_sandbox: Start, tmp_path: Path, text: str | None, said: str
) -> None:
    manifest = tmp_path / "bad.yaml"
    if text is not None:
        manifest.write_text(text, encoding="utf-8")
    sandbox = start_sandbox("--manifests", str(manifest))
    assert sandbox.process.wait(HANGS) == 2, sandbox.output
    assert said in sandbox.output
    assert str(manifest) in sandbox.output
    assert "Traceback" not in sandbox.output


def test_a_manifest_the_server_refuses_is_named_with_the_field(start_sandbox: Start, tmp_path: Path) -> None:
    manifest = tmp_path / "refused.yaml"
    manifest.write_text(
        "apiVersion: etl.router/v1\nkind: EtlRouterCluster\nmetadata: {name: big}\nspec: {replicas: 99}\n",
        encoding="utf-8",
    )
    sandbox = start_sandbox("--manifests", str(manifest))
    assert sandbox.process.wait(HANGS) == 2, sandbox.output
    assert "spec.replicas" in sandbox.output
    sandbox.wait_for_no_process()


def test_it_never_replaces_a_kubeconfig_that_is_somebody_elses(start_sandbox: Start, tmp_path: Path) -> None:
    precious = tmp_path / "config"
    precious.write_text("current-context: production\n", encoding="utf-8")
    sandbox = start_sandbox("--kubeconfig", str(precious))
    assert sandbox.process.wait(HANGS) == 2, sandbox.output
    assert "not the kubeconfig of a sandbox" in sandbox.output
    assert precious.read_text(encoding="utf-8") == "current-context: production\n"


def test_two_sandboxes_do_not_share_a_kubeconfig(start_sandbox: Start, tmp_path: Path) -> None:
    kubeconfig = tmp_path / "shared.kubeconfig"
    first = start_sandbox("--no-operator", "--kubeconfig", str(kubeconfig))
    first.wait_for_output("the control plane is up")
    written = kubeconfig.read_text(encoding="utf-8")
    second = start_sandbox("--no-operator", "--kubeconfig", str(kubeconfig))
    assert second.process.wait(HANGS) == 2, second.output
    assert f"{kubeconfig} is in use by another sandbox" in second.output
    assert kubeconfig.read_text(encoding="utf-8") == written
    first.stop()
    assert not kubeconfig.exists()
    # What a killed one has left is nobody's.
    kubeconfig.write_text(written, encoding="utf-8")
    third = start_sandbox("--no-operator", "--kubeconfig", str(kubeconfig))
    third.wait_for_output("the control plane is up")
    assert kubeconfig.read_text(encoding="utf-8") != written
    third.stop()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_the_sandbox(start_sandbox: Start, how: signal.Signals) -> None:
    sandbox = start_sandbox(*SAMPLES)
    sandbox.wait_for_output("everything is Ready")
    assert len([line for line in sandbox.processes() if "etl_operator.node" in line]) == 3
    code = sandbox.stop(how)
    assert code == (-signal.SIGKILL if how == signal.SIGKILL else 0), sandbox.output
    sandbox.wait_for_no_process()
    if how != signal.SIGKILL:
        assert "stopped; all processes have ended" in sandbox.output
        assert "Traceback" not in sandbox.output


def test_a_killed_sandbox_is_taken_up_again_from_its_directory(start_sandbox: Start) -> None:
    first = start_sandbox(*SAMPLES)
    first.wait_for_output("everything is Ready")
    first.stop(signal.SIGKILL)
    first.wait_for_no_process()
    second = start_sandbox(*SAMPLES, directory=first.state_dir.parent)
    second.wait_for_output("everything is Ready")
    # Nothing of what was true before is taken for true now.
    assert "waiting EtlRouterCluster/my-cluster: SandboxRestarted" in second.output
    assert len([line for line in second.processes() if "etl_operator.node" in line]) == 3
    assert second.stop() == 0
    second.wait_for_no_process()


@contextlib.asynccontextmanager
async def admin(sandbox: Sandbox) -> AsyncIterator[Client]:
    """A client with the rights of whoever started the sandbox."""
    client = Client(HttpTransport(load_kubeconfig(str(sandbox.kubeconfig))))
    try:
        yield client
    finally:
        await client.close()


def test_objects_created_later_are_followed_as_well(start_sandbox: Start) -> None:
    sandbox = start_sandbox(*SAMPLES)
    sandbox.wait_for_output("everything is Ready")
    later = ObjectKey("default", "later")
    source = {
        "apiVersion": SOURCE.api_version,
        "kind": SOURCE.kind,
        "metadata": {"namespace": later.namespace, "name": later.name},
        "spec": {"grpc": {"endpoint": "later:50051"}},
    }

    async def create() -> None:
        async with admin(sandbox) as client:
            await client.apply(SOURCE, source, field_manager="somebody")

    async def delete() -> None:
        async with admin(sandbox) as client:
            await client.delete(SOURCE, later)

    asyncio.run(create())
    sandbox.wait_for_output("ready   EtlSource/later")
    asyncio.run(delete())
    sandbox.wait_for_output("deleted EtlSource/later")
    assert sandbox.stop() == 0


def test_asking_twice_ends_it_at_once(start_sandbox: Start) -> None:
    sandbox = start_sandbox(*SAMPLES)
    sandbox.wait_for_output("everything is Ready")
    (operator,) = (line for line in sandbox.processes() if "etl_operator.cli run" in line)
    os.kill(int(operator.split()[0]), signal.SIGSTOP)
    sandbox.process.send_signal(signal.SIGINT)
    sandbox.wait_for_output("stopping everything")
    assert sandbox.stop(signal.SIGINT) == 128 + signal.SIGINT
    sandbox.wait_for_no_process()
