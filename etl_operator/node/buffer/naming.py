"""Names of streams, subjects and messages, and of servers. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from urllib.parse import quote

from etl_operator.node.data.balance import Key

LANES = 4
"""Ordered lanes of a pipeline's stream. Always the same number: a partition that changed its lane would have
records in two of them."""
_LONGEST = 160
"""Characters of a pipeline's id in a name; a longer one is shortened to a digest."""
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-")


def token(pipeline_id: str) -> str:
    """A pipeline's id as a part of a name: letters, digits and ``-`` stay, ``/`` becomes ``_``, and another
    character its hexadecimal bytes, each after ``=``. No two ids have the same token."""
    text = "".join(map(_escaped, pipeline_id))
    if len(text) <= _LONGEST:
        return text
    digest = hashlib.sha256(pipeline_id.encode()).hexdigest()[:32]
    return f"{text[: _LONGEST - 33]}=-{digest}"


def without_credentials(url: str) -> str:
    """The URL of a server, for messages: without user name, password or token."""
    scheme, separator, rest = url.rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


def _escaped(character: str) -> str:
    if character in _PLAIN:
        return character
    return "_" if character == "/" else "".join(f"={byte:02x}" for byte in character.encode())


def stream_of(prefix: str, pipeline_id: str) -> str:
    """The stream with the records of a pipeline."""
    return f"{prefix}_records_{token(pipeline_id)}"


def subjects_of(prefix: str, pipeline_id: str) -> str:
    """The subjects of all lanes of a pipeline."""
    return f"{prefix}.records.{token(pipeline_id)}.*"


def subject_of(prefix: str, pipeline_id: str, lane: int) -> str:
    """The subject of one lane."""
    return f"{prefix}.records.{token(pipeline_id)}.{lane}"


def consumer_of(lane: int) -> str:
    """The durable consumer of a lane."""
    return f"lane-{lane}"


def letters_stream(prefix: str) -> str:
    """The stream with the dead letters of all pipelines."""
    return f"{prefix}_dead-letters"


def letters_subject(prefix: str, pipeline_id: str = "") -> str:
    """The subject of a pipeline's dead letters; of those of all pipelines."""
    return f"{prefix}.dead-letters.{token(pipeline_id) if pipeline_id else '*'}"


def message_id(era: str, key: Key, positions: Sequence[int]) -> str | None:
    """What the server recognises a repeated message by; None if a record has no position.

    :param era: tells a pipeline apart from an earlier one with the same id.
    """
    if not positions or not all(positions):
        return None
    first, last = positions[0], positions[-1]
    source = quote(key[0], safe="")
    if len(source) > _LONGEST:
        source = hashlib.sha256(key[0].encode()).hexdigest()
    name = f"{era}/{source}/{key[1]}/{first}-{last}"
    if list(positions) == list(range(first, last + 1)):
        return name
    digest = hashlib.sha256(b",".join(str(position).encode() for position in positions))
    return f"{name}/{digest.hexdigest()[:32]}"
