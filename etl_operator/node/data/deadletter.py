"""Dead letters: the record as it was before the stage that failed, and why it failed. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from etl_operator.node.data.graph import Stage
from etl_operator.router.pb import common_pb2

PREFIX = "_dlq_"
"""Metadata keys with it are the router's."""
_LONGEST = 2000
"""Characters of an error's text."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a record failed."""

    code: str
    text: str
    attempts: int
    first: float
    """Wall-clock seconds since 1970 of the first failed attempt."""
    last: float


def dead_letter(record: common_pb2.Record, pipeline_id: str, stage: Stage, cause: Cause) -> common_pb2.Record:
    """A copy of ``record`` that says what happened to it."""
    letter = common_pb2.Record()
    letter.CopyFrom(record)
    letter.metadata.update(
        {
            f"{PREFIX}error_code": cause.code,
            f"{PREFIX}error_message": cause.text[:_LONGEST],
            f"{PREFIX}failed_stage": stage.stage_id,
            f"{PREFIX}failed_stage_type": stage.kind.value,
            f"{PREFIX}retry_count": str(cause.attempts),
            f"{PREFIX}first_failure": _time(cause.first),
            f"{PREFIX}last_failure": _time(cause.last),
            f"{PREFIX}pipeline": pipeline_id,
            f"{PREFIX}source": record.id.source_id,
            f"{PREFIX}timestamp": _time(cause.last),
        }
    )
    return letter


def restore(records: Iterable[common_pb2.Record]) -> None:
    """Take away what `dead_letter` added, in place: the record as it was before the stage."""
    for record in records:
        for key in [key for key in record.metadata if key.startswith(PREFIX)]:
            del record.metadata[key]


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
