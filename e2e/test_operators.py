"""More than one operator, cut lines, lost leases, and a control plane that is killed."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from e2e.running import SAMPLES, Sandbox, eventually
from e2e.scene import CHILDREN, MANAGER, POD, Scene, condition, router, scene_in
from etl_operator.api import CLUSTER, PIPELINE, SINK, SOURCE
from informers.client import Client, HttpTransport, load_kubeconfig
from informers.objects import Object, ObjectKey, Resource
from tests.hanging import HANGS

pytestmark = pytest.mark.asyncio(loop_scope="function")

LEASE = Resource("coordination.k8s.io", "v1", "leases", "Lease")
LEASE_KEY = ObjectKey("default", "etl-operator-leader")
CRDS = Path(__file__).resolve().parent.parent / "config" / "crd"
FLOW = {"source": "in", "sink": "out"}


class Line:
    """A line to the API server that can be cut: open connections stand still, new ones get nowhere."""

    def __init__(self, host: str, port: int) -> None:
        self._far = host, port
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self.port = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Line]:
        """Listen on a free port of 127.0.0.1."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = int(server.sockets[0].getsockname()[1])
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            for writer in self._writers:
                writer.transport.abort()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await server.wait_closed()

    def cut(self) -> None:
        """Let nothing through from now on."""
        self._open.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self._far)
        self._writers += [writer, far_writer]
        for pair in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(self._copy(*pair))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                await self._open.wait()
                writer.write(data)
                await writer.drain()
        writer.close()


class Operator:
    """One ``etl-operator run``, started by hand.

    :param pod: uid of the pod it takes itself for a container of.
    """

    def __init__(
        self, sandbox: Sandbox, directory: Path, name: str, port: int | None = None, pod: str = ""
    ) -> None:
        config = yaml.safe_load(sandbox.kubeconfig.read_text())
        if port is not None:
            cluster = config["clusters"][0]["cluster"]
            cluster["tls-server-name"] = urlsplit(cluster["server"]).hostname
            cluster["server"] = f"https://127.0.0.1:{port}"
        kubeconfig = directory / f"{name}.kubeconfig"
        kubeconfig.write_text(yaml.safe_dump(config))
        found = re.search(r"grpc_proxy=(\S+)", sandbox.output)
        assert found is not None
        self.log = directory / f"{name}.log"
        arguments = (
            *("--kubeconfig", str(kubeconfig), "--leader-elect", "--leader-election-namespace", "default"),
            *("--metrics-bind-address", "127.0.0.1:0", "--health-probe-bind-address", "127.0.0.1:0"),
        )
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "etl_operator.cli", "run", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=directory,
                env={**os.environ, "grpc_proxy": found[1], "no_grpc_proxy": "", "POD_UID": pod, **_path()},
            )

    async def ended(self, within: float = HANGS) -> int:
        """Wait until it ends by itself; its exit code."""

        async def check() -> bool:
            return self.process.poll() is not None

        await eventually(check, what=f"{self.log.name} ends", within=within)
        return int(self.process.returncode)


def _path() -> dict[str, str]:
    return {"PYTHONPATH": str(Path(__file__).resolve().parent.parent)}


@pytest.fixture(scope="module")
def bare(start_sandbox: Callable[..., Sandbox]) -> Sandbox:
    """A control plane with the kinds, and no operator."""
    running = start_sandbox("--no-operator", "--manifests", str(CRDS))
    running.wait_for_output("everything is Ready")
    return running


@pytest.fixture
async def stage(bare: Sandbox, request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    """A namespace of the bare control plane."""
    client = Client(HttpTransport(load_kubeconfig(str(bare.kubeconfig))))
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).removeprefix("test-")[:50].strip("-")
    async with scene_in(bare, client, name) as made:
        yield made
    await client.close()


@pytest.fixture
def start(bare: Sandbox, tmp_path: Path) -> Iterator[Callable[..., Operator]]:
    """Starts operators, and ends them."""
    started: list[Operator] = []

    def begin(name: str, port: int | None = None, pod: str = "") -> Operator:
        started.append(Operator(bare, tmp_path, name, port, pod))
        return started[-1]

    yield begin
    for one in started:
        if one.process.poll() is None:
            one.process.terminate()
            try:
                one.process.wait(30)
            except subprocess.TimeoutExpired:
                one.process.kill()
                one.process.wait()


async def holder(scene: Scene) -> str:
    """Who has the lease."""
    lease = await eventually(lambda: _lease(scene), what="one process leads")
    return str(lease["spec"]["holderIdentity"])


async def _lease(scene: Scene) -> Object | None:
    found = (await scene.client.list(LEASE, namespace=LEASE_KEY.namespace)).items
    return next((one for one in found if one["spec"].get("holderIdentity")), None)


async def pipelines(scene: Scene, cluster: str, count: int) -> list[str]:
    """A source, a sink and so many pipelines."""
    await scene.service(SOURCE, "in")
    await scene.service(SINK, "out")
    names = [f"p{n}" for n in range(count)]
    await asyncio.gather(*(scene.apply(PIPELINE, name, FLOW) for name in names))
    await asyncio.gather(scene.ready(CLUSTER, cluster), *(scene.ready(PIPELINE, name) for name in names))
    return names


async def test_a_cut_off_leader_steps_down_and_the_other_goes_on(
    bare: Sandbox, stage: Scene, start: Callable[..., Operator]
) -> None:
    config = yaml.safe_load(bare.kubeconfig.read_text())
    server = urlsplit(config["clusters"][0]["cluster"]["server"])
    async with Line(str(server.hostname), server.port or 443).running() as line:
        first = start("first", line.port)
        leader = await holder(stage)
        await stage.cluster("pair", 3)
        names = await pipelines(stage, "pair", 5)
        second = start("second")
        assert await holder(stage) == leader, "one leads, the other waits"
        line.cut()
        await asyncio.gather(*(stage.delete(PIPELINE, name) for name in names))
        await stage.annotate(CLUSTER, "pair", restart_requested_at="1")
        assert await first.ended() == 1
        # The lease runs out, and the second does what the first has left undone.
        await asyncio.gather(*(stage.gone(PIPELINE, name) for name in names))
        assert await holder(stage) != leader

        async def rolled() -> bool:
            pods = await stage.pods("pair")
            return all("etl.router/restart-requested-at" in p["metadata"]["annotations"] for p in pods)

        await eventually(rolled, what="every member was restarted")
        await stage.ready(CLUSTER, "pair")
        restarts = [one for one in await stage.events("pair") if one["reason"] == "PodRestarted"]
        assert len(restarts) == 3
        assert second.process.poll() is None


async def test_a_lease_taken_by_somebody_else_ends_the_work(
    stage: Scene, start: Callable[..., Operator]
) -> None:
    first = start("robbed")
    leader = await holder(stage)
    await stage.cluster("lone")
    await stage.ready(CLUSTER, "lone")
    lease = await _lease(stage)
    assert lease is not None
    thief = {"spec": {"holderIdentity": "somebody-else", "leaseDurationSeconds": 2}}
    await stage.client.patch(LEASE, ObjectKey.of(lease), thief, field_manager=MANAGER)
    assert await first.ended() == 1
    assert "lease" in first.log.read_text().splitlines()[-1].lower()
    # The thief never renews: the next operator takes over, and finds nothing to do.
    before = {r.kind: await stage.all(r) for r in (*CHILDREN, POD)}
    start("heir")

    async def taken() -> bool:
        found = await _lease(stage)
        return found is not None and found["spec"]["holderIdentity"] not in (leader, "somebody-else")

    await eventually(taken, what="the heir leads")
    await stage.service(SOURCE, "proof")
    await stage.ready(SOURCE, "proof")
    assert {r.kind: await stage.all(r) for r in (*CHILDREN, POD)} == before


async def test_a_restarted_container_takes_the_lease_of_its_pod_back(
    stage: Scene, start: Callable[..., Operator]
) -> None:
    async def leads(one: Operator) -> bool:
        assert one.process.poll() is None, one.log.read_text()
        return "became leader" in one.log.read_text()

    first = start("first", pod="uid-of-a-pod")
    await eventually(lambda: leads(first), what="the container leads")
    before = await _lease(stage)
    assert before is not None
    first.process.kill()
    first.process.wait()
    again = start("again", pod="uid-of-a-pod")
    await eventually(lambda: leads(again), what="the restarted container leads")
    after = await _lease(stage)
    assert after is not None
    # Nobody has waited for it to expire: it never changed hands.
    for field in ("holderIdentity", "acquireTime", "leaseTransitions"):
        assert after["spec"][field] == before["spec"][field]
    # A second process of the living pod has a name of its own, and waits.
    beside = start("beside", pod="uid-of-a-pod")

    async def waits() -> bool:
        return "waiting for the lease" in beside.log.read_text()

    await eventually(waits, what="the second process stands by")
    standing = await _lease(stage)
    assert standing is not None
    assert standing["spec"]["holderIdentity"] == before["spec"]["holderIdentity"]


async def test_a_killed_control_plane_comes_back_with_everything(
    start_sandbox: Callable[..., Sandbox], tmp_path: Path
) -> None:
    one = start_sandbox(*SAMPLES, directory=tmp_path)
    one.wait_for_output("everything is Ready")
    client = Client(HttpTransport(load_kubeconfig(str(one.kubeconfig))))
    scene = Scene(one, client, "default")
    before = await scene.get(PIPELINE, "user-analytics")
    await client.close()
    one.process.send_signal(signal.SIGKILL)
    one.process.wait()
    one.wait_for_no_process()
    two = start_sandbox(*SAMPLES, directory=tmp_path)
    two.wait_for_output("everything is Ready")
    client = Client(HttpTransport(load_kubeconfig(str(two.kubeconfig))))
    scene = Scene(two, client, "default")
    after = await scene.ready(PIPELINE, "user-analytics")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["status"]["version"] == before["status"]["version"], "submitted once, and never again"
    for address in await scene.addresses("my-cluster"):
        async with router(address) as node:
            (held,) = await node.list_pipelines(include_disabled=True)
            assert held.id == "default/user-analytics"
    assert condition(await scene.ready(CLUSTER, "my-cluster"))["status"] == "True"
    await scene.still()
    await client.close()
