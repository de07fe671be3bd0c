"""Log lines of every command: the runtime's formats, for this program's own loggers."""

from __future__ import annotations

from informers import logs

LOGGERS = ("etl_operator", "controllers", "informers")


def configure_logging(log_format: str, level: str) -> None:
    """Send every logger to standard error. What libraries say below a warning is left out."""
    logs.configure_logging(log_format, level, LOGGERS)
