"""The protobuf messages, from the descriptors beside this file."""

from __future__ import annotations

import gzip
from functools import cache
from importlib.resources import files

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

VERSION = "1.37"


def kubernetes(name: str) -> type[Message]:
    """The class of a message of Kubernetes' ``generated.proto`` files.

    :raises KeyError: when there is no such message.
    """
    return message_factory.GetMessageClass(_pool(f"descriptors-{VERSION}").FindMessageTypeByName(name))


def swagger() -> type[Message]:
    """The class of ``openapi.v2.Document``, in which servers send ``/openapi/v2``."""
    return message_factory.GetMessageClass(_pool("openapi-v2").FindMessageTypeByName("openapi.v2.Document"))


@cache
def _pool(file: str) -> descriptor_pool.DescriptorPool:
    packed = files(__package__).joinpath(f"{file}.pb.gz").read_bytes()
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(any_pb2.DESCRIPTOR.serialized_pb)
    for one in descriptor_pb2.FileDescriptorSet.FromString(gzip.decompress(packed)).file:
        pool.Add(one)
    return pool
