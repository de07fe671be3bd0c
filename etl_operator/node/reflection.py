"""gRPC server reflection: clients such as grpcurl list services and messages without their .proto files."""

from __future__ import annotations

from collections.abc import Sequence

import grpc.aio
from grpc_reflection.v1alpha import reflection

from etl_operator.node.settings import Node
from etl_operator.router.pb import sidecar_pb2, source_pb2

_RECORDS = (
    source_pb2.DESCRIPTOR.services_by_name["SourceRouter"],
    sidecar_pb2.DESCRIPTOR.services_by_name["SidecarDataPlane"],
)
"""What workers serve, under the same address."""


def add_reflection(server: grpc.aio.Server, services: Sequence[str], node: Node) -> None:
    """Serve reflection.

    :param services: full names of the services of the control process.
    """
    names = [*services, *(descriptor.full_name for descriptor in _RECORDS), reflection.SERVICE_NAME]
    if node.health_service:
        names.append("grpc.health.v1.Health")
    reflection.enable_server_reflection(sorted(names), server)
