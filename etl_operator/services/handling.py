"""From a servicer to handlers of gRPC, by the description of the service."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.message_factory import GetMessageClass


def handlers(file: FileDescriptor, service: str, servicer: object) -> grpc.GenericRpcHandler[Any, Any]:
    """Handlers for every RPC of a service, each a method of the servicer of the same name.

    :param service: without the package, as ``SinkService``.
    """
    description = file.services_by_name[service]
    made: dict[str, Any] = {}
    for method in description.methods:
        streams = (method.client_streaming, method.server_streaming)
        kind = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[streams]
        made[method.name] = kind(
            getattr(servicer, method.name),
            request_deserializer=GetMessageClass(method.input_type).FromString,
            response_serializer=GetMessageClass(method.output_type).SerializeToString,
        )
    return grpc.method_handlers_generic_handler(description.full_name, made)
