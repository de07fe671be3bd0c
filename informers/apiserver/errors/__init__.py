"""Refusals: the exception, its causes, the errors that several requests share, limits of size and depth."""

from __future__ import annotations

from informers.apiserver.errors.status import Cause, StatusError

__all__ = ["Cause", "StatusError"]
