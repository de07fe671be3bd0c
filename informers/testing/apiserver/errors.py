"""How the server says no: an exception that knows its ``metav1.Status``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Cause(NamedTuple):
    """One entry of ``Status.details.causes``."""

    reason: str
    message: str
    field: str


class StatusError(Exception):
    """A refusal.

    :param code: HTTP status code.
    :param reason: machine-readable reason, or "".
    :param details: ``Status.details``.
    """

    def __init__(
        self, code: int, reason: str, message: str, details: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details: dict[str, Any] = dict(details or {})

    def status(self) -> dict[str, Any]:
        """The ``metav1.Status`` clients read."""
        result: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }
        if self.details:
            result["details"] = self.details
        return result
