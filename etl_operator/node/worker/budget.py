"""The settings, as the data plane of one process has them."""

from __future__ import annotations

from etl_operator.node.data.buffer import Buffer
from etl_operator.node.data.call import Tuning
from etl_operator.node.data.credit import Amount, Limits
from etl_operator.node.settings import Settings


def limits_of(settings: Settings, workers: int = 1) -> Limits:
    """Budgets: one source may have a quarter of all bytes, one pipeline half.

    :param workers: processes that share them; each gets the same part.
    """
    buffer, size = settings.buffer, settings.node.buffer_bytes // workers
    return Limits(
        Amount(max(buffer.max_total_records // workers, 1), size),
        Amount(max(buffer.max_per_source // workers, 1), size // 4),
        Amount(max(buffer.max_per_stage // workers, 1), size // 2),
        buffer.backpressure_threshold,
        buffer.backpressure_resume_threshold,
    )


def tuning_of(settings: Settings) -> Tuning:
    """Times and sizes of calls."""
    return Tuning(
        deadline=settings.node.call_seconds,
        message_bytes=settings.grpc.max_message_size,
        longest_wait=settings.node.longest_retry_seconds,
        service_tls=settings.node.service_tls_dir,
    )


def buffer_of(settings: Settings) -> Buffer | None:
    """The durable buffer; None: records are in memory only."""
    if not settings.nats.urls:
        return None
    from etl_operator.node.buffer.nats import NatsBuffer

    return NatsBuffer(settings.nats)
