"""Log lines in the two formats of the operator, on standard error. The kit does not import the operator's
runtime."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

FORMATS = ("text", "json")
LEVELS = ("debug", "info", "warning", "error")

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class TextFormatter(logging.Formatter):
    """``2026-01-31T10:00:00.000Z INFO    etl_operator.services.sink  started  bind=10.0.0.1:50051``"""

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


def configure_logging(log_format: str, level: str) -> None:
    """Send every logger to standard error. What libraries say below a warning is left out.

    :param log_format: one of :data:`FORMATS`.
    :param level: one of :data:`LEVELS`: what is below is left out.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    logging.basicConfig(handlers=[handler], level="WARNING", force=True)
    # A service of one's own logs under any name, mostly that of its script.
    for name in ("etl_operator", "__main__"):
        logging.getLogger(name).setLevel(level.upper())


def _timestamp(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, tz=UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def _extra(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}
