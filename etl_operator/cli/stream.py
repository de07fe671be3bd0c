"""Reads the dead letters that a router stored in NATS JetStream."""

from __future__ import annotations

import nats
import nats.errors
from google.protobuf.message import DecodeError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError

from etl_operator.cli.dlq import DlqError
from etl_operator.node.buffer.naming import without_credentials
from etl_operator.router.pb import common_pb2
from etl_operator.services.records import line_of

_BATCH = 500
_SECONDS = 10.0
"""How long the server may take to answer."""


async def lines(url: str, stream: str, credentials: str | None = None) -> list[bytes]:
    """The dead letters of a stream, as lines of a file of dead letters.

    :param credentials: path of a NATS credentials file.
    :raises DlqError: the stream cannot be read.
    """
    where = f"NATS at {without_credentials(url)}"
    try:
        client = await nats.connect(
            url, max_reconnect_attempts=1, connect_timeout=int(_SECONDS), user_credentials=credentials
        )
    except (nats.errors.Error, OSError, ValueError) as error:
        raise DlqError(f"{where}: {error or type(error).__name__}") from None
    try:
        return await _read(client.jetstream(timeout=_SECONDS), stream)
    except NotFoundError:
        raise DlqError(f"{where}: there is no stream {stream}") from None
    except (nats.errors.Error, OSError) as error:
        raise DlqError(f"{where}, stream {stream}: {error or type(error).__name__}") from None
    finally:
        await client.close()


async def _read(js: nats.js.JetStreamContext, stream: str) -> list[bytes]:
    # It reads and takes nothing away; the server removes it after some seconds.
    config = ConsumerConfig(
        ack_policy=AckPolicy.NONE, deliver_policy=DeliverPolicy.ALL, inactive_threshold=_SECONDS
    )
    consumer = await js.add_consumer(stream, config)
    left = consumer.num_pending or 0
    inbox = await js.pull_subscribe_bind(consumer=consumer.name, stream=stream)
    found: list[bytes] = []
    while left > 0:
        messages = await inbox.fetch(min(left, _BATCH), _SECONDS)
        left -= len(messages)
        found += [_line(stream, message.data) for message in messages]
    return found


def _line(stream: str, data: bytes) -> bytes:
    try:
        return line_of(common_pb2.Record.FromString(data))
    except DecodeError:
        raise DlqError(f"stream {stream} has messages that are no dead letters of a router") from None
