"""What a node tells people and tools: log lines in the operator's formats, and gRPC reflection."""

from __future__ import annotations

import io
import json
import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from etl_operator import logs
from tests.hanging import HANGS
from tests.node.cluster import RouterProcess, running

TEXT = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR) +etl_operator\.node[\w.]*  "
)


@pytest.mark.parametrize("how", ["flag", "variable"])
async def test_json_lines(tmp_path: Path, how: str) -> None:
    flags = ["--log-format=json"] if how == "flag" else []
    env = {} if flags else {"ETL_ROUTER__NODE__LOG_FORMAT": "json"}
    async with running(tmp_path, 1, flags=flags, env=env) as cluster:
        node = await cluster.leader()
        assert await node.terminate() == 0
        lines = [json.loads(line) for line in node.logs().splitlines()]
        assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
        assert any("serves gRPC" in line["message"] and line["level"] == "info" for line in lines)


async def test_text_lines_and_levels(tmp_path: Path) -> None:
    async with running(tmp_path, 1) as cluster:
        node = await cluster.leader()
        assert await node.terminate() == 0
        lines = node.logs().splitlines()
        assert lines
        assert all(TEXT.match(line) for line in lines), lines
    (tmp_path / "quiet").mkdir()
    async with running(tmp_path / "quiet", 1, flags=["--log-level=error"]) as cluster:
        node = await cluster.leader()
        assert await node.terminate() == 0
        assert node.logs() == ""


def test_lines_of_a_worker_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    handlers, level = logging.root.handlers[:], logging.root.level
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    try:
        logs.configure_logging("json", "info", {"worker": 3})
        logging.getLogger("etl_operator.node.worker").info("hello")
    finally:
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)
    line = json.loads(stream.getvalue())
    assert (line["message"], line["worker"]) == ("hello", 3)


async def asked(node: RouterProcess, **question: str) -> Any:
    stub = reflection_pb2_grpc.ServerReflectionStub(node.channel)
    request = reflection_pb2.ServerReflectionRequest(**question)
    async for answer in stub.ServerReflectionInfo(iter([request]), timeout=HANGS):
        return answer
    raise AssertionError("no answer")


@pytest.mark.parametrize("workers", [0, 1])
async def test_reflection_on_request(tmp_path: Path, workers: int) -> None:
    flags = ["--reflection", f"--data-workers={workers}"]
    async with running(tmp_path, 1, flags=flags) as cluster:
        node = await cluster.leader()
        answer = await asked(node, list_services="")
        names = {service.name for service in answer.list_services_response.service}
        assert names == {
            "etl.backup.BackupService",
            "etl.checkpoint.CheckpointService",
            "etl.registry.ServiceRegistry",
            "etl.router.RouterAdmin",
            "etl.sidecar.SidecarDataPlane",
            "etl.source.SourceRouter",
            "grpc.health.v1.Health",
            "grpc.reflection.v1alpha.ServerReflection",
        }
        for name in names:
            found = await asked(node, file_containing_symbol=name)
            (data, *_) = found.file_descriptor_response.file_descriptor_proto
            file = FileDescriptorProto.FromString(data)
            assert name.rpartition(".")[2] in {service.name for service in file.service}


async def test_no_reflection_by_default(tmp_path: Path) -> None:
    async with running(tmp_path, 1) as cluster:
        node = await cluster.leader()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asked(node, list_services="")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_reflection_of_other_package_names_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "etl_operator.node", "-n1", "--reflection", "--package-prefix=conveyor"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1
    assert "remove reflection or package_prefix" in done.stderr
