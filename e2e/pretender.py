"""A router that says it leads, whatever the others say; started in place of ``etl-router``.

It writes the name of every call that would change something to ``writes`` in its data directory.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click
import grpc

from etl_operator.router.pb import router_pb2 as pb
from etl_operator.router.pb import router_pb2_grpc

_WRITES = ("CreatePipeline", "UpdatePipeline", "DeletePipeline", "EnablePipeline", "DisablePipeline")


class _Pretender(router_pb2_grpc.RouterAdminServicer):
    """Leads in the first term, for ever."""

    def __init__(self, node: int) -> None:
        self._node = node

    async def GetClusterStatus(self, request: Any, context: Any) -> pb.GetClusterStatusResponse:
        return pb.GetClusterStatusResponse(node_id=self._node, leader_id=self._node, term=1)


class _Recorder(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Notes the writes."""

    def __init__(self, file: Path) -> None:
        self._file = file

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        method = str(details.method).rpartition("/")[2]
        if method in _WRITES:
            with self._file.open("a") as record:
                record.write(f"{method}\n")
        return await continuation(details)


async def _healthy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readline()
    writer.write(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n")
    await writer.drain()
    writer.close()


async def _run(node: int, listen: str, http: str, data: Path) -> None:
    server = grpc.aio.server(interceptors=[_Recorder(data / "writes")])
    router_pb2_grpc.add_RouterAdminServicer_to_server(_Pretender(node), server)  # type: ignore[no-untyped-call]
    server.add_insecure_port(listen)
    await server.start()
    host, _, port = http.rpartition(":")
    await asyncio.start_server(_healthy, host, int(port))
    await server.wait_for_termination()


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--node-id", type=int, required=True)
@click.option("--listen-addr", required=True)
@click.option("--graphql-addr", required=True)
@click.option("--data-dir", type=click.Path(path_type=Path), required=True)
@click.argument("rest", nargs=-1)
def main(node_id: int, listen_addr: str, graphql_addr: str, data_dir: Path, rest: tuple[str, ...]) -> None:
    """Serve until killed."""
    asyncio.run(_run(node_id, listen_addr, graphql_addr, data_dir))


if __name__ == "__main__":
    main()
