"""Every RPC of protos/ is served by a node, called by it, or named in docs/router.md as neither."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import grpc.aio
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

from etl_operator.router.statuses import is_lost
from tests.hanging import HANGS
from tests.node.cluster import RouterProcess, running

ROOT = Path(__file__).parents[2]
CALLED = {"TransformService", "SinkService"}


def services() -> list[ServiceDescriptor]:
    found = []
    for file in sorted((ROOT / "protos").glob("*.proto")):
        module = importlib.import_module(f"etl_operator.router.pb.{file.stem}_pb2")
        # Those of etcd are of another program.
        if module.DESCRIPTOR.package != "etcdserverpb":
            found += module.DESCRIPTOR.services_by_name.values()
    return found


async def is_served(node: RouterProcess, method: MethodDescriptor, watches: float) -> bool:
    """Whether an empty request is answered, with whatever status but UNIMPLEMENTED.

    :param watches: seconds after which a stream from the server, which has no end, counts as served.
    """
    path = f"/{method.containing_service.full_name}/{method.name}"
    request, answer = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
    codecs: dict[str, Any] = {
        "request_serializer": request.SerializeToString,
        "response_deserializer": answer.FromString,
    }
    call: Any
    while True:
        if method.client_streaming:
            call = node.channel.stream_stream(path, **codecs)(iter(()), timeout=HANGS)
        elif method.server_streaming:
            call = node.channel.unary_stream(path, **codecs)(request(), timeout=watches)
        else:
            call = node.channel.unary_unary(path, **codecs)(request(), timeout=HANGS)
        code: grpc.StatusCode = await call.code()
        # A write that meets the end of its call hides the status: ask again.
        if not is_lost(code.name, await call.details()):
            return code is not grpc.StatusCode.UNIMPLEMENTED


async def test_every_rpc_is_served_called_or_explained(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "router.md").read_text(encoding="utf-8")
    section = text.partition("## Services that are neither served nor called")[2].partition("\n## ")[0]
    explained = set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))
    async with running(tmp_path, 1) as cluster:
        node = await cluster.leader()
        for service in services():
            # A stream that is not served ends by itself, however slow the machine is.
            absent = service.name in explained | CALLED
            served = [await is_served(node, method, HANGS if absent else 1) for method in service.methods]
            if absent:
                assert not any(served), service.name
            else:
                missing = [m.name for m, ok in zip(service.methods, served, strict=True) if not ok]
                assert not missing, f"{service.name}: {missing}"
    source = "\n".join(
        file.read_text(encoding="utf-8") for file in (ROOT / "etl_operator/node/data").glob("*.py")
    )
    for service in services():
        if service.name in CALLED:
            # By a stub, or as bytes by the path.
            called = re.compile(rf"\b(?:stub|\))\.(\w+)|\)\.(\w+), parcel|\.{service.name}/(\w+)\"")
            names = {name for found in called.findall(source) for name in found if name}
            assert [m.name for m in service.methods if m.name not in names] == []
