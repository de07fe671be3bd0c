"""A whole fleet in the sandbox: ``python -m benchmarks.fleet``.

500 pipelines, each with a source, a transform and a sink of its own, on the embedded API server, with the
operator and three router nodes as processes. Measured are the time until all objects are Ready, and what is
written while nothing changes: to the API server, and to the routers, in 100 looks at every pipeline. So that
those do not take an hour, the operator looks every few seconds instead of every 30.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import logging
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio
import yaml
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.processes import ROOT, MeasurementError
from controllers.objects.kinds import POD
from etl_operator.api import CLUSTER, PIPELINE, SINK, SOURCE, TRANSFORM
from etl_operator.sandbox.manifests import built_in, load_manifests
from etl_operator.sandbox.progress import readiness
from etl_operator.sandbox.run import SERVICE_ACCOUNT, free_ports
from etl_operator.sandbox.watching import apply_all
from informers.client import Client, HttpTransport, load_kubeconfig
from informers.objects import Object, Resource

PIPELINES, RESYNCS, INTERVAL = 500, 100, 5.0
NODES = 3
OUTPUT = ROOT / "docs" / "benchmarks" / "fleet.md"
_NAMESPACE = "fleet"
_RAFT = {"electionTimeoutMs": 3000, "heartbeatIntervalMs": 300}
"""Patient, so that other load on the machine causes no election: a new leader is reported in a status."""
_QUIET = 15.0
"""Seconds without a write after which the fleet counts as converged."""
_PATIENCE = 3600.0
_WRITES = {"create", "update", "patch", "delete", "deletecollection"}
_MUTATIONS = (
    *(f"RouterAdmin/{verb}Pipeline" for verb in ("Create", "Update", "Delete", "Enable", "Disable")),
    "ServiceRegistry/Register",
    "ServiceRegistry/Deregister",
)


@dataclass
class Result:
    """What was seen."""

    pipelines: int
    applied_seconds: float = 0.0
    """Until the API server had all objects."""
    ready_seconds: float = 0.0
    """From the first object until all are Ready."""
    resyncs: float = 0.0
    """Looks at each pipeline while nothing changed."""
    idle_seconds: float = 0.0
    writes: dict[str, int] = field(default_factory=dict)
    """Of the operator while nothing changed, by verb and resource; its lease is left out."""
    lease_writes: int = 0
    mutations: float = 0.0
    """Calls that change a router, and entries of its log."""
    calls: float = 0.0
    """Other calls to routers."""
    operator_cpu: float = 0.0
    """Share of a CPU while nothing changed."""
    sandbox_cpu: float = 0.0
    nodes_cpu: float = 0.0
    operator_mib: float = 0.0

    @property
    def holds(self) -> bool:
        """All that is promised."""
        return not self.writes and not self.mutations

    def table(self) -> str:
        """As Markdown."""
        written = ", ".join(f"{number} {what}" for what, number in sorted(self.writes.items())) or "0"
        rows = [
            ("pipelines; services; router nodes", f"{self.pipelines}; {3 * self.pipelines}; {NODES}"),
            ("all objects stored after", f"{self.applied_seconds:.1f} s"),
            ("all objects Ready after", f"{self.ready_seconds:.1f} s"),
            (
                "looks at each pipeline while nothing changed",
                f"{self.resyncs:.0f} in {self.idle_seconds:.0f} s",
            ),
            ("writes to the API server in this time", f"{written}; must be 0"),
            ("renewals of the operator's lease, beside them", f"{self.lease_writes}"),
            ("changes of routers in this time", f"{self.mutations:.0f}; must be 0"),
            ("other calls to routers", f"{self.calls:,.0f}"),
            (
                "CPU in this time: operator, sandbox, router nodes",
                f"{self.operator_cpu:.2f}, {self.sandbox_cpu:.2f}, {self.nodes_cpu:.2f}",
            ),
            ("resident memory of the operator", f"{self.operator_mib:.0f} MiB"),
        ]
        lines = ["| fleet | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows)]
        return "\n".join([*lines, "", "holds" if self.holds else "fails"]) + "\n"


def fleet(pipelines: int, endpoint: str) -> Iterator[tuple[Resource, Object]]:
    """All objects; every service is at the same endpoint."""
    for number in range(pipelines):
        for resource, name in ((SOURCE, "in"), (TRANSFORM, "step"), (SINK, "out")):
            yield resource, _object(resource, f"{name}-{number:04d}", {"grpc": {"endpoint": endpoint}})
    for number in range(pipelines):
        spec = {
            "source": f"in-{number:04d}",
            "steps": [f"step-{number:04d}"],
            "sink": f"out-{number:04d}",
            "enabled": True,
        }
        yield PIPELINE, _object(PIPELINE, f"p-{number:04d}", spec)


def _object(resource: Resource, name: str, spec: Object) -> Object:
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {"name": name, "namespace": _NAMESPACE},
        "spec": spec,
    }


class Sandbox:
    """The processes, and what they say."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.kubeconfig = directory / "kubeconfig"
        self.state = directory / "state"
        self._audit = directory / "audit"
        self._log = directory / "sandbox.log"
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start the control plane, and wait for it."""
        with self._log.open("wb") as log:
            self._processes.append(
                subprocess.Popen(
                    [
                        *(sys.executable, "-m", "etl_operator.cli", "sandbox", "--no-operator"),
                        *("--kubeconfig", str(self.kubeconfig), "--state-dir", str(self.state)),
                        *("--audit-log", str(self._audit)),
                    ],
                    cwd=ROOT,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            )
        end = time.monotonic() + 120.0
        while "the control plane is up" not in self._log.read_text():
            if self.sandbox.poll() is not None or time.monotonic() > end:
                raise MeasurementError(f"the sandbox does not start: {self._log.read_text()[-2000:]}")
            time.sleep(0.1)

    @property
    def sandbox(self) -> subprocess.Popen[bytes]:
        """API server, loops and kubelet."""
        return self._processes[0]

    @property
    def operator(self) -> subprocess.Popen[bytes]:
        """The operator."""
        return self._processes[1]

    def operate(self, kubeconfig: Path, interval: float, metrics: int) -> None:
        """Start the operator."""
        found = re.search(r"export grpc_proxy=(\S+)", self._log.read_text())
        if found is None:
            raise MeasurementError("the sandbox names no proxy")
        with (self.directory / "operator.log").open("wb") as log:
            self._processes.append(
                subprocess.Popen(
                    [
                        *(sys.executable, "-m", "benchmarks.fleet", "--operate", str(kubeconfig)),
                        *("--interval", str(interval), "--metrics", str(metrics)),
                    ],
                    cwd=ROOT,
                    env={**os.environ, "grpc_proxy": found[1], "no_grpc_proxy": ""},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            )

    def decisions(self, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
        """Requests of the operator since then, and the offset of what follows."""
        with self._audit.open("rb") as file:
            file.seek(offset)
            data = file.read()
        whole = data.rfind(b"\n") + 1
        user = f"system:serviceaccount:{SERVICE_ACCOUNT.replace('/', ':')}"
        lines = (json.loads(line) for line in data[:whole].splitlines())
        return [line for line in lines if line["user"] == user], offset + whole

    def nodes(self) -> list[int]:
        """Process ids of the router nodes and their workers."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    command = (entry / "cmdline").read_text()
                    parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                except OSError:
                    continue
                if "etl_operator.node" in command and self._is_under(parent):
                    found.append(int(entry.name))
        return found

    def _is_under(self, pid: int) -> bool:
        while pid > 1:
            if pid == self.sandbox.pid:
                return True
            try:
                pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                return False
        return False

    def stop(self) -> None:
        """End everything: the operator first."""
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(90)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def _running(directory: Path) -> Iterator[Sandbox]:
    made = Sandbox(directory)
    try:
        made.start()
        yield made
    finally:
        made.stop()


@asynccontextmanager
async def _healthy() -> AsyncIterator[str]:
    """A server that says that every service is healthy."""
    server = grpc.aio.server()
    servicer: Any = health.aio.HealthServicer()  # type: ignore[attr-defined]
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


async def _token(client: Client) -> str:
    """A token of the operator's service account."""
    namespace, _, name = SERVICE_ACCOUNT.partition("/")
    spec = {"expirationSeconds": 86_400}
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
    return str((await client.raw("POST", path, body=body))["status"]["token"])


def _kubeconfig(admin: Path, token: str, to: Path) -> None:
    config = yaml.safe_load(admin.read_text())
    for user in config["users"]:
        user["user"] = {"token": token}
    to.write_text(yaml.safe_dump(config))


async def _page(url: str) -> dict[tuple[str, ...], float]:
    """Metrics: name and label values -> value."""

    def read() -> str:
        import urllib.request

        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=60) as answer:
            return str(answer.read().decode())

    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(await asyncio.to_thread(read))
        for sample in family.samples
    }


async def _ready(client: Client, resources: Sequence[Resource], number: int) -> None:
    """Wait until so many objects of these kinds are Ready."""
    end = time.monotonic() + _PATIENCE
    while True:
        states = [
            readiness({"apiVersion": resource.api_version, "kind": resource.kind, **one})
            for resource in resources
            for one in (await client.list(resource, namespace=_NAMESPACE)).items
        ]
        if sum(state.ready for state in states) == number:
            return
        if time.monotonic() > end:
            why = Counter(state.text for state in states if not state.ready).most_common(3)
            raise MeasurementError(f"{sum(state.ready for state in states)} of {number} are Ready: {why}")
        await asyncio.sleep(1.0)


async def _apply(client: Client, objects: Iterator[tuple[Resource, Object]]) -> None:
    """Eight at a time, as a user's tool does."""

    async def work() -> None:
        for resource, obj in objects:
            await client.apply(resource, obj, field_manager="fleet")

    await asyncio.gather(*(work() for _ in range(8)))


class Watched:
    """The fleet while nothing changes."""

    def __init__(self, sandbox: Sandbox, client: Client, metrics: int, pipelines: int) -> None:
        self._sandbox = sandbox
        self._client = client
        self._metrics = f"http://127.0.0.1:{metrics}/metrics"
        self._pipelines = pipelines

    async def quiet(self) -> int:
        """Wait until nothing has been written for some time; the offset in the audit log."""
        offset, since, end = 0, time.monotonic(), time.monotonic() + _PATIENCE
        while time.monotonic() - since < _QUIET:
            lines, offset = self._sandbox.decisions(offset)
            if any(_is_write(line) for line in lines):
                since = time.monotonic()
            if time.monotonic() > end:
                raise MeasurementError(f"it never stops to write: {_counted(lines)}")
            await asyncio.sleep(1.0)
        return offset

    async def looks(self) -> float:
        """Reconciles of each pipeline so far."""
        page = await _page(self._metrics)
        names = "controller_runtime_reconcile_total"
        found = [value for key, value in page.items() if key[0] == names and "pipeline" in key[1]]
        return sum(found) / self._pipelines

    async def routers(self) -> tuple[float, float]:
        """Changes of all routers so far, and other calls."""
        pods = (await self._client.list(POD, namespace=_NAMESPACE)).items
        pages = [await _page(f"http://{pod['status']['podIP']}:9090/metrics") for pod in pods]
        changes = sum(page["etl_router_raft_applied_index",] for page in pages)
        others = 0.0
        for page in pages:
            for key, value in page.items():
                if key[0] == "etl_router_grpc_calls_total":
                    changes += value if key[1] in _MUTATIONS else 0
                    others += 0 if key[1] in _MUTATIONS else value
        return changes, others

    async def measure(self, result: Result, resyncs: int) -> None:
        """So many looks at everything."""
        offset = await self.quiet()
        before, (changes, calls) = await self.looks(), await self.routers()
        pids = {"operator": [self._sandbox.operator.pid], "sandbox": [self._sandbox.sandbox.pid]}
        pids["nodes"] = self._sandbox.nodes()
        used = {name: sum(map(_cpu, each)) for name, each in pids.items()}
        began = time.monotonic()
        while (await self.looks()) - before < resyncs:
            if time.monotonic() - began > _PATIENCE:
                raise MeasurementError("the operator does not look at the pipelines")
            await asyncio.sleep(2.0)
        result.idle_seconds = time.monotonic() - began
        shares = {
            name: (sum(map(_cpu, each)) - used[name]) / result.idle_seconds for name, each in pids.items()
        }
        result.operator_cpu, result.sandbox_cpu = shares["operator"], shares["sandbox"]
        result.nodes_cpu = shares["nodes"]
        after = await self.routers()
        result.mutations, result.calls = after[0] - changes, after[1] - calls
        result.resyncs = await self.looks() - before
        lines, _ = self._sandbox.decisions(offset)
        result.writes = dict(_counted(lines))
        result.lease_writes = sum(line["verb"] in _WRITES and not _is_write(line) for line in lines)
        result.operator_mib = _resident(self._sandbox.operator.pid)


def _is_write(line: dict[str, Any]) -> bool:
    """A write that is about the fleet: the lease of the operator says only that it runs."""
    return line["verb"] in _WRITES and line.get("resource") != "leases"


def _counted(lines: list[dict[str, Any]]) -> Counter[str]:
    return Counter(f"{line['verb']} {line.get('resource')}" for line in lines if _is_write(line))


def _resident(pid: int) -> float:
    """MiB."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def _cpu(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(pipelines: int, resyncs: int, interval: float, directory: Path) -> Result:
    """All of it.

    :raises MeasurementError: it does not get that far.
    """
    result = Result(pipelines)
    with _running(directory) as sandbox:
        client = Client(HttpTransport(load_kubeconfig(str(sandbox.kubeconfig))))
        async with _healthy() as endpoint:
            installed = [one for one in load_manifests(built_in("default")) if one["kind"] != "Deployment"]
            namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _NAMESPACE}}
            await apply_all(client, [*installed, namespace])
            spec = {"replicas": NODES, "storage": {"size": "1Gi"}, "raft": _RAFT}
            cluster = _object(CLUSTER, "routers", spec)
            await client.apply(CLUSTER, cluster, field_manager="fleet")
            own = directory / "operator.kubeconfig"
            _kubeconfig(sandbox.kubeconfig, await _token(client), own)
            [metrics] = free_ports(1)
            sandbox.operate(own, interval, metrics)
            await _ready(client, [CLUSTER], 1)
            _tell(f"the cluster is Ready; creating {4 * pipelines} objects")
            began = time.monotonic()
            await _apply(client, fleet(pipelines, endpoint))
            result.applied_seconds = time.monotonic() - began
            await _ready(client, [SOURCE, TRANSFORM, SINK, PIPELINE], 4 * pipelines)
            result.ready_seconds = time.monotonic() - began
            _tell(
                f"all Ready after {result.ready_seconds:.1f} s (stored after {result.applied_seconds:.1f} s)"
            )
            await Watched(sandbox, client, metrics, pipelines).measure(result, resyncs)
        await client.close()
    return result


def _tell(line: str) -> None:
    sys.stderr.write(f"fleet: {line}\n")
    sys.stderr.flush()


def operate(kubeconfig: Path, interval: float, metrics: int) -> int:
    """The operator, which looks at pipelines more often than it does as a rule."""
    from controllers.wiring.settings import ControllerSettings
    from etl_operator.cli import operator

    logging.basicConfig(level=logging.WARNING)
    operator.ControllerSettings = functools.partial(  # type: ignore[misc,assignment]
        ControllerSettings, drift_interval=interval
    )
    settings = operator.OperatorSettings(
        kubeconfig=kubeconfig,
        leader_elect=True,
        leader_election_namespace=SERVICE_ACCOUNT.partition("/")[0],
        metrics_bind_address=f"127.0.0.1:{metrics}",
        health_probe_bind_address="0",
    )
    return asyncio.run(operator.run_operator(settings))


def main() -> int:
    """1 when a promise does not hold."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet", description=__doc__)
    parser.add_argument("--pipelines", type=int, default=PIPELINES)
    parser.add_argument("--resyncs", type=int, default=RESYNCS)
    parser.add_argument("--interval", type=float, default=INTERVAL, help="seconds between two looks")
    parser.add_argument("--output", type=Path, help=f"file for the table, such as {OUTPUT.relative_to(ROOT)}")
    parser.add_argument("--directory", type=Path, help="where logs remain (default: they do not)")
    parser.add_argument("--operate", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--metrics", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.operate:
        return operate(options.operate, options.interval, options.metrics)
    with tempfile.TemporaryDirectory(prefix="bench-fleet-") as name:
        where = options.directory or Path(name)
        where.mkdir(parents=True, exist_ok=True)
        result = asyncio.run(measure(options.pipelines, options.resyncs, options.interval, where))
    sys.stdout.write(result.table())
    sys.stderr.write(json.dumps(asdict(result)) + "\n")
    if options.output:
        options.output.write_text(result.table(), encoding="utf-8")
    return 0 if result.holds else 1


if __name__ == "__main__":
    sys.exit(main())
