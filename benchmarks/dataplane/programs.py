"""The measured programs: a router node with one pipeline, and a collector that forwards."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import grpc

from benchmarks.dataplane.wire import SOURCE
from benchmarks.peers.interpreter import python_command
from benchmarks.peers.programs import BUILD
from benchmarks.processes import ROOT, MeasurementError, pinned
from etl_operator.router.pb import common_pb2, registry_pb2, registry_pb2_grpc, router_pb2, router_pb2_grpc
from etl_operator.sandbox.run import free_ports

COLLECTOR_VERSION = "v0.165.0"
_MODULE = "go.opentelemetry.io/collector"
_DEADLINE = 60.0
_BUILD = f"""\
dist:
  name: otelcol-bench
  output_path: ./out
receivers:
  - gomod: {_MODULE}/receiver/otlpreceiver {COLLECTOR_VERSION}
exporters:
  - gomod: {_MODULE}/exporter/otlpexporter {COLLECTOR_VERSION}
"""


class Missing(Exception):
    """The collector cannot be built here; the text says why."""


def collector() -> Path:
    """Build the collector, once.

    :raises Missing: there is no Go, or the build failed.
    """
    directory = BUILD / "collector"
    program = directory / COLLECTOR_VERSION / "otelcol-bench"
    if program.exists():
        return program
    if shutil.which("go") is None:
        raise Missing("no go on PATH")
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "builder.yaml").write_text(_BUILD, encoding="utf-8")
    builder = f"{_MODULE}/cmd/builder@{COLLECTOR_VERSION}"
    done = subprocess.run(
        ["go", "run", builder, "--config", "builder.yaml"], cwd=directory, capture_output=True, check=False
    )
    if done.returncode:
        complaint = done.stderr.decode(errors="replace").strip().splitlines()
        raise Missing(f"{builder} failed: {' '.join(complaint[-3:]) or done.returncode}")
    program.parent.mkdir(exist_ok=True)
    (directory / "out" / "otelcol-bench").rename(program)
    shutil.rmtree(directory / "out")
    return program


def python() -> tuple[str, ...]:
    """What the router runs on: as for the other benchmarks, the fastest build of this version."""
    return python_command(Path(sysconfig.get_path("platlib")), sys.executable)


class Running:
    """A measured process that listens on ``target``."""

    def __init__(self, process: subprocess.Popen[bytes], target: str, log: Path) -> None:
        self._process = process
        self.target = target
        self._log = log

    def cpu_seconds(self) -> float:
        """User and system time of the process that moves the records, and of its children."""
        return sum(_cpu_seconds(pid) for pid in _family(self._process.pid))

    def complaint(self) -> str:
        """The end of its log."""
        return self._log.read_text(errors="replace")[-2000:]


def _cpu_seconds(pid: int) -> float:
    # The name may have spaces; what follows it has none.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    return [pid, *(each for child in children.read_text().split() for each in _family(int(child)))]


@contextlib.contextmanager
def _started(command: list[str], target: str, directory: Path, cpus: Sequence[int]) -> Iterator[Running]:
    log = directory / "measured.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd=ROOT,
            preexec_fn=pinned(*cpus),
        )
    running = Running(process, target, log)
    try:
        yield running
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def router(
    directory: Path,
    cpus: Sequence[int],
    service_port: int,
    *,
    transforms: Sequence[str] = (),
    workers: int = 1,
) -> Iterator[Running]:
    """A node with a pipeline from `SOURCE` to a sink.

    :param transforms: ids of the stages between.
    """
    grpc_port, raft, http = free_ports(3)
    target = f"127.0.0.1:{grpc_port}"
    command = [
        *python(),
        *("-m", "etl_operator.node", "--node-id=1", f"--listen-addr={target}"),
        *(f"--raft-addr=127.0.0.1:{raft}", f"--graphql-addr=127.0.0.1:{http}"),
        f"--data-dir={directory / 'data'}",
        f"--data-workers={workers}",
    ]
    with (
        _started(command, target, directory, cpus) as running,
        grpc.insecure_channel(target, [("grpc.enable_http_proxy", 0)]) as channel,
    ):
        try:
            _configure(channel, service_port, transforms)
        except grpc.RpcError as error:
            raise MeasurementError(f"the node refused: {error}: {running.complaint()}") from error
        yield running


def _configure(channel: grpc.Channel, port: int, transforms: Sequence[str]) -> None:
    registry = registry_pb2_grpc.ServiceRegistryStub(channel)  # type: ignore[no-untyped-call]
    services = [
        (common_pb2.SERVICE_TYPE_SINK, "bench-sink"),
        (common_pb2.SERVICE_TYPE_TRANSFORM, "bench-transform"),
    ]
    for kind, name in services:
        identity = common_pb2.ServiceIdentity(service_id=f"bench/{name}", service_type=kind, name=name)
        endpoint = common_pb2.Endpoint(host="127.0.0.1", port=port)
        request = registry_pb2.RegisterRequest(identity=identity, endpoint=endpoint)
        registry.Register(request, timeout=_DEADLINE, wait_for_ready=True)
    kinds = [("source", router_pb2.STAGE_TYPE_SOURCE, SOURCE)]
    kinds += [(name, router_pb2.STAGE_TYPE_TRANSFORM, "bench-transform") for name in transforms]
    kinds.append(("sink", router_pb2.STAGE_TYPE_SINK, "bench-sink"))
    stages = [
        router_pb2.Stage(
            id=name, stage_type=kind, service_selector=router_pb2.ServiceSelector(service_name=service)
        )
        for name, kind, service in kinds
    ]
    edges = [router_pb2.Edge(from_stage=one.id, to_stage=other.id) for one, other in pairwise(stages)]
    admin = router_pb2_grpc.RouterAdminStub(channel)  # type: ignore[no-untyped-call]
    config = router_pb2.PipelineConfig(id="bench/line", name="line", stages=stages, edges=edges)
    until = time.monotonic() + _DEADLINE
    while True:
        try:
            admin.CreatePipeline(router_pb2.CreatePipelineRequest(config=config), timeout=_DEADLINE)
            break
        except grpc.RpcError:  # The node has not elected itself yet.
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
    admin.EnablePipeline(router_pb2.EnablePipelineRequest(pipeline_id=config.id), timeout=_DEADLINE)


@contextlib.contextmanager
def forwarding_collector(
    program: Path, directory: Path, cpus: Sequence[int], service_port: int
) -> Iterator[Running]:
    """A collector that answers an export after its own export was answered."""
    target = f"127.0.0.1:{free_ports(1)[0]}"
    config = {
        "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": target, "max_recv_msg_size_mib": 64}}}},
        "exporters": {
            "otlp": {
                "endpoint": f"127.0.0.1:{service_port}",
                "tls": {"insecure": True},
                "compression": "none",
                "sending_queue": {"enabled": False},
            }
        },
        "service": {
            "pipelines": {"logs": {"receivers": ["otlp"], "exporters": ["otlp"]}},
            "telemetry": {"metrics": {"level": "none"}},
        },
    }
    file = directory / "collector.json"
    # JSON is YAML.
    file.write_text(json.dumps(config), encoding="utf-8")
    with _started([str(program), "--config", str(file)], target, directory, cpus) as running:
        yield running
