"""A kit for services of a pipeline: sources, transforms and sinks, and the command ``etl-service``.

It speaks the router's gRPC API and knows nothing of Kubernetes: services are announced to routers by
EtlSource, EtlTransform and EtlSink objects, which the operator registers.
"""

from etl_operator.router.pb.common_pb2 import Record, RecordId
from etl_operator.services.errors import StartError, Unavailable
from etl_operator.services.records import PayloadError, decode, encode
from etl_operator.services.routers import Position, RouterTls
from etl_operator.services.running import run
from etl_operator.services.service import Service
from etl_operator.services.sink import Refusal, Sink
from etl_operator.services.source import Pushing, Source
from etl_operator.services.transform import Transform

__all__ = [
    "PayloadError",
    "Position",
    "Pushing",
    "Record",
    "RecordId",
    "Refusal",
    "RouterTls",
    "Service",
    "Sink",
    "Source",
    "StartError",
    "Transform",
    "Unavailable",
    "decode",
    "encode",
    "run",
]
