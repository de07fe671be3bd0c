"""What gRPC itself puts in the place of a peer's status."""

from __future__ import annotations

_LOST = "Internal error from Core"


def is_lost(code: str, details: str | None) -> bool:
    """Whether this is not the peer's status: grpc.aio reports INTERNAL where a write meets the end of a call.

    Nothing is known about what became of the request. See https://github.com/grpc/grpc/issues/36066.

    :param code: name of the status code.
    """
    return code == "INTERNAL" and details == _LOST
