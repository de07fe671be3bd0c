"""How streams and consumers are configured, and which existing stream is not safe. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DiscardPolicy,
    PersistMode,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)

from etl_operator.node.buffer import naming
from etl_operator.node.settings import Nats

DUPLICATES = 120.0
"""Seconds for which a server recognises a message that is sent again."""


def records(settings: Nats, pipeline_id: str) -> StreamConfig:
    """The stream of a pipeline: a message is removed once its records are delivered."""
    return _stream(
        settings,
        naming.stream_of(settings.prefix, pipeline_id),
        f"Records of the pipeline {pipeline_id} that are not delivered yet.",
        naming.subjects_of(settings.prefix, pipeline_id),
        RetentionPolicy.WORK_QUEUE,
    )


def letters(settings: Nats) -> StreamConfig:
    """The stream of dead letters: they stay until somebody removes them."""
    return _stream(
        settings,
        naming.letters_stream(settings.prefix),
        "Records that failed in a pipeline without a dead-letter sink.",
        naming.letters_subject(settings.prefix),
        RetentionPolicy.LIMITS,
    )


def _stream(
    settings: Nats, name: str, description: str, subject: str, retention: RetentionPolicy
) -> StreamConfig:
    return StreamConfig(
        name=name,
        description=description,
        subjects=[subject],
        retention=retention,
        storage=StorageType.FILE,
        # A full stream refuses records; the other policy would remove the oldest ones.
        discard=DiscardPolicy.NEW,
        max_bytes=settings.max_bytes,
        num_replicas=settings.replicas,
        duplicate_window=DUPLICATES,
    )


def consumer(settings: Nats, pipeline_id: str, lane: int) -> ConsumerConfig:
    """The consumer of a lane. One message is being delivered at a time, by whichever member asks first: so
    the order stays, also when a member ends and another one takes over."""
    return ConsumerConfig(
        name=naming.consumer_of(lane),
        durable_name=naming.consumer_of(lane),
        filter_subject=naming.subject_of(settings.prefix, pipeline_id, lane),
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=settings.ack_wait_seconds,
        max_ack_pending=1,
        max_deliver=-1,
    )


def differs(found: StreamConfig, wanted: StreamConfig) -> bool:
    """An existing stream has other limits than the settings, which can be changed."""
    return (found.max_bytes, found.num_replicas) != (wanted.max_bytes, wanted.num_replicas)


def refusal(found: StreamConfig, wanted: StreamConfig) -> str:
    """Why records must not be put into an existing stream; empty if they may."""
    faults = "; ".join(_faults(found, wanted))
    if not faults:
        return ""
    return f"stream {found.name} could lose acknowledged records or keep others out: {faults}"


def _faults(found: StreamConfig, wanted: StreamConfig) -> Iterator[str]:
    if (found.num_replicas or 1) < (wanted.num_replicas or 1):
        yield f"num_replicas is {found.num_replicas}, less than nats.replicas {wanted.num_replicas}"
    if found.storage != StorageType.FILE:
        yield f"storage is {found.storage}, not file"
    if found.persist_mode == PersistMode.ASYNC:
        yield "persist_mode is async"
    if found.discard != DiscardPolicy.NEW:
        yield f"discard is {found.discard}, not new"
    if found.retention != wanted.retention:
        yield f"retention is {found.retention}, not {wanted.retention}"
    if found.max_age:
        yield f"max_age is {found.max_age:g} s, not 0"
    if (found.max_msgs_per_subject or -1) > 0:
        yield f"max_msgs_per_subject is {found.max_msgs_per_subject}, not -1"
    if found.subjects != wanted.subjects:
        yield f"subjects are {found.subjects}, not {wanted.subjects}"
    if found.no_ack:
        yield "no_ack is set"
    if found.sealed:
        yield "sealed is set"
