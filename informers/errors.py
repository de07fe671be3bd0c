"""Everything that can go wrong between a controller and the API server.

::

    RuntimeFault
    ├── ApiError(status, reason, message)   the server answered, and said no
    │   ├── BadRequest           400
    │   ├── Unauthorized         401
    │   ├── Forbidden            403
    │   ├── NotFound             404
    │   ├── AlreadyExists        409, reason AlreadyExists
    │   ├── Conflict             409, any other reason
    │   ├── Gone                 410
    │   ├── Invalid              422
    │   ├── TooManyRequests      429, with retry_after
    │   └── ServerError          5xx, with retry_after where given
    ├── TransportError           no answer: reset, timed out, no credential
    │   └── Unreachable          not even a connection: refused, unknown host, bad TLS
    ├── MissingResources         the server does not serve what the process is about
    ├── Fenced                   refused here: this process no longer holds the lease
    ├── Detached                 asked of an informer that was detached: it knows nothing any more
    ├── ConfigError              the kubeconfig or in-cluster environment cannot be used
    └── Terminal                 raised by a reconciler: retrying cannot help, wait for a change
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

LONGEST_REST = 3600.0
"""Seconds: nobody is asked to wait longer, whatever a server says; its clock may be years from ours."""


class RuntimeFault(Exception):
    """Base of every error this library raises."""


class TransportError(RuntimeFault):
    """The request got no answer. Whether the server acted on it is unknown."""

    reported = False
    """The log says already that there is no contact: whoever passes the error on need not say it aloud."""


class Unreachable(TransportError):
    """There was no connection to send the request on. The server has not acted on it."""


class MissingResources(RuntimeFault):
    """The API server does not serve resources that the process watches: their definitions are missing."""


def log_level(error: BaseException, level: int) -> int:
    """The level at which to log an error: ``level``, or DEBUG for one that is in the log already."""
    return logging.DEBUG if isinstance(error, TransportError) and error.reported else level


class Fenced(RuntimeFault):
    """A write was refused because this process cannot prove that it still leads."""


class Detached(RuntimeFault):
    """An informer was asked after it had been detached. "Nothing is there" would be a lie, and a dear one."""


class ConfigError(RuntimeFault):
    """Cluster access is not configured, or its configuration is unusable."""


class Terminal(RuntimeFault):
    """Retrying cannot help; the key rests until its object or a dependency changes."""


class ApiError(RuntimeFault):
    """The API server's refusal.

    :param status: HTTP status code.
    :param reason: machine-readable ``Status.reason`` (``NotFound``, ``Invalid`` ...), or "".
    :param message: the server's sentence for people.
    :param details: ``Status.details`` as sent, or an empty mapping.
    :param retry_after: seconds the server asked to wait, an hour at most, or ``None``.
    """

    def __init__(
        self,
        status: int,
        reason: str = "",
        message: str = "",
        details: Mapping[str, Any] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message or f"HTTP {status} {reason}".strip())
        self.status = status
        self.reason = reason
        self.message = message
        self.details: Mapping[str, Any] = details or {}
        self.retry_after = retry_after

    @property
    def namespace_ends(self) -> bool:
        """Whether the refusal is about a namespace that is being deleted: nothing new has a place there."""
        causes = self.details.get("causes") or ()
        return any(cause.get("reason") == "NamespaceTerminating" for cause in causes)


class BadRequest(ApiError):
    """400: the request itself is malformed."""


class Unauthorized(ApiError):
    """401: the credentials were not accepted."""


class Forbidden(ApiError):
    """403: known to the server, but not allowed."""


class NotFound(ApiError):
    """404: no such object, or no such resource."""


class Conflict(ApiError):
    """409: the object moved on, or another field manager owns a field."""


class AlreadyExists(ApiError):
    """409 on create: the name is taken."""


class Gone(ApiError):
    """410: the resource version or continue token is too old."""


class Invalid(ApiError):
    """422: the object breaks its schema or a rule; ``details.causes`` has the field paths."""


class TooManyRequests(ApiError):
    """429: back off for ``retry_after`` seconds."""


class ServerError(ApiError):
    """5xx: the server failed; the write may or may not have happened."""


_BY_STATUS: Mapping[int, type[ApiError]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
    429: TooManyRequests,
}


def api_error(
    status: int, body: Mapping[str, Any] | None = None, retry_after: float | None = None
) -> ApiError:
    """Build the right :class:`ApiError` from an HTTP status and a decoded ``Status`` body."""
    body = body or {}
    reason = str(body.get("reason") or "")
    message = str(body.get("message") or "")
    raw_details = body.get("details")
    details: Mapping[str, Any] = raw_details if isinstance(raw_details, dict) else {}
    if retry_after is None and isinstance(details.get("retryAfterSeconds"), int | float):
        retry_after = details["retryAfterSeconds"]
    if retry_after is not None:
        retry_after = float(min(max(retry_after, 0.0), LONGEST_REST))
    kind = _BY_STATUS.get(status, ServerError if status >= 500 else ApiError)
    if kind is Conflict and reason == "AlreadyExists":
        kind = AlreadyExists
    return kind(status, reason, message, details, retry_after)
