"""Logs of routers and services on standard error, in the two formats of the operator."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping

from informers.logs import FORMATS, LEVELS, JsonFormatter, TextFormatter

__all__ = ["FORMATS", "LEVELS", "configure_logging"]


def configure_logging(log_format: str, level: str, fields: Mapping[str, object] | None = None) -> None:
    """Configure logging to standard error. Libraries log warnings and errors only.

    :param log_format: one of :data:`FORMATS`.
    :param level: one of :data:`LEVELS`, the lowest level that is logged.
    :param fields: added to every line.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    if fields:
        handler.addFilter(_Fields(fields))
    logging.basicConfig(handlers=[handler], level="WARNING", force=True)
    # A custom service uses any logger, usually that of its script.
    for name in ("etl_operator", "__main__"):
        logging.getLogger(name).setLevel(level.upper())


class _Fields(logging.Filter):
    """Adds fields; everything passes."""

    def __init__(self, fields: Mapping[str, object]) -> None:
        super().__init__()
        self._fields = fields

    def filter(self, record: logging.LogRecord) -> bool:
        """See `logging.Filter`."""
        record.__dict__.update(self._fields)
        return True
