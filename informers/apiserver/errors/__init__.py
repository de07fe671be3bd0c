"""How the server refuses: the one exception, its causes, and the refusals that are made in several places."""

from __future__ import annotations

from informers.apiserver.errors.status import Cause, StatusError

__all__ = ["Cause", "StatusError"]
