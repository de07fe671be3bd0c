"""Log lines: text for people, one JSON object per line for collectors. Always on standard error.

The runtime says in a short sentence what happened, and to what in the fields (``extra``) of the record, which
the formats of the standard library leave out.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from informers.objects import ObjectKey

FORMATS = ("text", "json")
LEVELS = ("debug", "info", "warning", "error")

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class TextFormatter(logging.Formatter):
    """``2026-01-31T10:00:00.000Z INFO    controllers.cluster  created StatefulSet  cluster=default/a``"""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and a stack trace where there is one."""
        extra = " ".join(f"{key}={value}" for key, value in _extra(record).items())
        line = f"{_timestamp(record)} {record.levelname:<7} {record.name}  {record.getMessage()}"
        line = f"{line}  {extra}" if extra else line
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """``time``, ``level``, ``logger``, ``message``, all fields, and ``exception`` where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
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


class DuringReconcile(logging.Filter):
    """Adds controller, key, causes and id of the reconcile a line was written in; it may name its own."""

    def __init__(self) -> None:
        super().__init__()
        # Only programs that run something pay for loading the runtime.
        from informers.controller.current import current

        self._current = current

    def filter(self, record: logging.LogRecord) -> bool:
        """Everything passes."""
        reconcile = self._current()
        if reconcile is not None:
            for name, value in reconcile.fields().items():
                record.__dict__.setdefault(name, value)
        return True


def configure_logging(log_format: str = "text", level: str = "info", loggers: Sequence[str] = ()) -> None:
    """Send every logger to standard error, and to nowhere else.

    :param log_format: one of :data:`FORMATS`.
    :param level: one of :data:`LEVELS`: what is below is left out.
    :param loggers: whom ``level`` is for; others are left out below warnings. Everybody by default.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(DuringReconcile())
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    logging.basicConfig(handlers=[handler], level="WARNING" if loggers else level.upper(), force=True)
    for name in loggers:
        logging.getLogger(name).setLevel(level.upper())


def _timestamp(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, tz=UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def _extra(record: logging.LogRecord) -> dict[str, object]:
    found = {name: value for name, value in vars(record).items() if name not in _STANDARD}
    # A key is a tuple, which JSON would show as a list.
    return {name: str(value) if isinstance(value, ObjectKey) else value for name, value in found.items()}
