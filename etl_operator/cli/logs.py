"""Log lines: text for people, one JSON object per line for collectors. Always on standard error."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from informers.objects import ObjectKey

FORMATS = ("text", "json")
LEVELS = ("debug", "info", "warning", "error")

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class _Text(logging.Formatter):
    """``2026-01-31T10:00:00.000Z INFO  controllers.cluster  created StatefulSet  cluster=default/a``"""

    def format(self, record: logging.LogRecord) -> str:
        extra = " ".join(f"{key}={value}" for key, value in _extra(record).items())
        line = f"{_timestamp(record)} {record.levelname:<7} {record.name}  {record.getMessage()}"
        line = f"{line}  {extra}" if extra else line
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": _timestamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extra(record),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str, ensure_ascii=False)


class _DuringReconcile(logging.Filter):
    """Adds controller, key, causes and id of the reconcile a line was written in; it may name its own."""

    def __init__(self) -> None:
        super().__init__()
        # Only commands that run something pay for loading the runtime.
        from informers.controller.current import current

        self._current = current

    def filter(self, record: logging.LogRecord) -> bool:
        reconcile = self._current()
        if reconcile is not None:
            for name, value in reconcile.fields().items():
                record.__dict__.setdefault(name, value)
        return True


def configure_logging(log_format: str, level: str) -> None:
    """Send every logger to standard error. What libraries say below a warning is left out."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_DuringReconcile())
    handler.setFormatter(_Json() if log_format == "json" else _Text())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for name in ("etl_operator", "controllers", "informers"):
        logging.getLogger(name).setLevel(level.upper())


def _timestamp(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, tz=UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def _extra(record: logging.LogRecord) -> dict[str, object]:
    found = {name: value for name, value in vars(record).items() if name not in _STANDARD}
    # A key is a tuple, which JSON would show as a list.
    return {name: str(value) if isinstance(value, ObjectKey) else value for name, value in found.items()}
