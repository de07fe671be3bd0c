"""gRPC handlers for a servicer, built from the descriptor of the service."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.message_factory import GetMessageClass


def handlers(file: FileDescriptor, service: str, servicer: object) -> grpc.GenericRpcHandler[Any, Any]:
    """Handlers for all RPCs of a service; each calls the method of the servicer with the same name.

    :param service: name without the package, such as ``SinkService``.
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
