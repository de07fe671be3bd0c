"""The data plane's services as gRPC handlers, under the configured package prefix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from etl_operator.node.data.front import SidecarDataPlane, SourceRouter
from etl_operator.node.data.plane import DataPlane
from etl_operator.router.pb import sidecar_pb2, source_pb2

Count = Callable[[str], None]


def handlers(plane: DataPlane, package_prefix: str, count: Count) -> list[grpc.GenericRpcHandler[Any, Any]]:
    """One handler per service.

    :param count: called with ``Service/Method`` for every call.
    """
    offered: list[tuple[ServiceDescriptor, object]] = [
        (source_pb2.DESCRIPTOR.services_by_name["SourceRouter"], SourceRouter(plane)),
        (sidecar_pb2.DESCRIPTOR.services_by_name["SidecarDataPlane"], SidecarDataPlane(plane)),
    ]
    found = []
    for descriptor, servicer in offered:
        _, _, rest = descriptor.full_name.partition(".")
        methods = {
            method.name: _handler(method, getattr(servicer, method.name), count)
            for method in descriptor.methods
        }
        found.append(grpc.method_handlers_generic_handler(f"{package_prefix}.{rest}", methods))
    return found


def _handler(method: MethodDescriptor, behaviour: Callable[[Any, Any], Any], count: Count) -> Any:
    name = f"{method.containing_service.name}/{method.name}"

    async def counted(request: Any, context: Any) -> Any:
        count(name)
        return await behaviour(request, context)

    kind = (
        grpc.stream_stream_rpc_method_handler
        if method.client_streaming
        else grpc.unary_unary_rpc_method_handler
    )
    # What sources push mostly stays the bytes that it is.
    raw = method.input_type is source_pb2.PushRequest.DESCRIPTOR
    return kind(
        counted,
        request_deserializer=None if raw else GetMessageClass(method.input_type).FromString,
        response_serializer=_serialised,
    )


def _serialised(message: Message | bytes) -> bytes:
    return message if isinstance(message, bytes) else message.SerializeToString()
