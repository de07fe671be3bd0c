"""Log lines in the two formats of the operator, on standard error."""

from __future__ import annotations

import logging
import sys

from informers.logs import FORMATS, LEVELS, JsonFormatter, TextFormatter

__all__ = ["FORMATS", "LEVELS", "configure_logging"]


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
