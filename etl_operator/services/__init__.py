"""A library for the services of a pipeline (sources, transforms and sinks), and the command ``etl-service``.

It uses the gRPC API of the router and does not depend on Kubernetes. EtlSource, EtlTransform and EtlSink
objects describe services; the operator registers them with the router.
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
