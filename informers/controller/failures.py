"""What a failed reconcile is called, and the one log line it ends in."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from informers.errors import Conflict, Fenced, RuntimeFault, log_level

log = logging.getLogger(__name__)


class DeadlineExceeded(RuntimeFault):
    """A reconcile took longer than its controller allows, and was cancelled."""


def cause_of(error: Exception) -> Exception:
    """What failed in a task group, and says when to try again, is inside."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def tell(error: Exception, fields: Mapping[str, object], *, again: bool) -> None:
    """Log a failed reconcile.

    :param fields: of the log line.
    :param again: it is not the first failure in a row, so no stack trace is wanted.
    """
    if isinstance(error, Conflict | Fenced):
        # Both are part of normal life: someone was faster, or leads now.
        log.info("reconcile will be retried: %s", _sentence(error), extra=fields)
    else:
        trace = None if again or isinstance(error, RuntimeFault) else error
        level = log_level(error, logging.ERROR)
        log.log(level, "reconcile failed: %s", _sentence(error), extra=fields, exc_info=trace)


def _sentence(error: Exception) -> str:
    try:
        text = str(error)
    except Exception:
        # An error that cannot say what it is about must not end the worker.
        text = ""
    return (
        text if isinstance(error, RuntimeFault) and text else f"{type(error).__name__}: {text}".rstrip(": ")
    )
