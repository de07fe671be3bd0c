"""The exception of every refused request, which carries its ``metav1.Status``."""

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
    :param metadata: ``Status.metadata``: an expired list carries the token that continues it there.
    """

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        # Servers tell an empty ``details`` from none.
        self.details: dict[str, Any] = dict(details or {})
        self._detailed = details is not None
        self.metadata: dict[str, Any] = dict(metadata or {})

    @property
    def retry_after(self) -> int | None:
        """Seconds the client is asked to wait, or ``None``."""
        return self.details.get("retryAfterSeconds")

    def status(self) -> dict[str, Any]:
        """The ``metav1.Status`` clients read."""
        result: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": self.metadata,
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            result["reason"] = self.reason
        if self.details or self._detailed:
            result["details"] = self.details
        # The order of the fields is that of metav1.Status.
        result["code"] = self.code
        return result
