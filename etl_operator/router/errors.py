"""One error model out of three ways in which routers say no.

::

    RouterError
    ├── Unreachable              nobody answered: refused, lost, name unknown, no answer in time
    │   └── TimedOut             the deadline passed; what was asked may have been done
    ├── NotLeader                this node does not take writes, or no node leads
    ├── Rejected                 an answer, and it is no; the same request gets the same answer
    │   └── Missing              what was named does not exist there
    ├── Overloaded               out of quota or buffers; later may do
    ├── Faulty                   the router failed inside
    └── Unimplemented            this router does not serve the method
        └── RouterAdminUnavailable    ... and it is one of RouterAdmin, which no published build serves

A router says no as a gRPC status, as ``success=false`` in an OK answer, and, on a node that does not lead,
as any of INTERNAL, UNAVAILABLE or ``success=false`` with a text. Text is looked at only where the code says
nothing: the texts belong to the contract.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import grpc

from etl_operator.router.statuses import is_lost


class RouterError(Exception):
    """A call to a router failed.

    :param message: what happened, stable between repetitions: it ends up in conditions.
    :param address: ``host:port`` that was called; empty when the error is about a whole cluster.
    :param method: bare name of the call; empty when the error is about more than one.
    """

    def __init__(self, message: str, *, address: str = "", method: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.address = address
        self.method = method

    def __str__(self) -> str:
        where = " at ".join(part for part in (self.method, self.address) if part)
        return f"{self.message} ({where})" if where else self.message


class Unreachable(RouterError):
    """Nobody answered. Nothing is known about what became of the request."""


class TimedOut(Unreachable):
    """The deadline passed. What was asked may have been done."""


class NotLeader(RouterError):
    """The node does not lead, so it takes no writes; or, about a cluster, no node leads."""


class Rejected(RouterError):
    """The router understood and refused. The same request gets the same answer."""


class Missing(Rejected):
    """What the request names does not exist in the router."""


class Overloaded(RouterError):
    """The router has no room for it now."""


class Faulty(RouterError):
    """The router failed inside."""


class Unimplemented(RouterError):
    """The router does not serve this method under any known package prefix."""


class RouterAdminUnavailable(Unimplemented):
    """The router serves no RouterAdmin: a build without it, not an outage."""


_ADMIN_SERVICE = "router.RouterAdmin"

_BY_CODE: Mapping[grpc.StatusCode, type[RouterError]] = {
    grpc.StatusCode.CANCELLED: Unreachable,
    grpc.StatusCode.UNKNOWN: Faulty,
    grpc.StatusCode.INVALID_ARGUMENT: Rejected,
    grpc.StatusCode.DEADLINE_EXCEEDED: TimedOut,
    grpc.StatusCode.NOT_FOUND: Missing,
    grpc.StatusCode.ALREADY_EXISTS: Rejected,
    grpc.StatusCode.PERMISSION_DENIED: Rejected,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    grpc.StatusCode.FAILED_PRECONDITION: Rejected,
    grpc.StatusCode.ABORTED: Overloaded,
    grpc.StatusCode.OUT_OF_RANGE: Rejected,
    grpc.StatusCode.UNIMPLEMENTED: Unimplemented,
    grpc.StatusCode.INTERNAL: Faulty,
    grpc.StatusCode.UNAVAILABLE: Unreachable,
    grpc.StatusCode.DATA_LOSS: Faulty,
    grpc.StatusCode.UNAUTHENTICATED: Rejected,
}

_NOT_LEADER = re.compile(r"\bnot the leader\b|^raft error: .*\bforward", re.IGNORECASE)
_NOT_FOUND = re.compile(r"\bnot found\b", re.IGNORECASE)
_NO_COMMIT = re.compile(r"\btimed out waiting for commit\b", re.IGNORECASE)
# What gRPC itself says, on this side, about an answer whose headers are longer than the channel's limit.
_TOO_LONG = re.compile(r"\breceived (?:initial |trailing )?metadata size exceeds\b", re.IGNORECASE)
# The same for messages, on either side. Nothing gets smaller by being sent again.
_TOO_LARGE = re.compile(r"\b(?:received|sent) message larger than max\b", re.IGNORECASE)

TEXT_LIMIT = 4096
"""Characters of a router's text that are kept: it goes into conditions, events and log lines."""

_STABLE: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), message)
    for pattern, message in (
        ("connection refused", "connection refused"),
        (
            "hostname verification|name .* is not in peer certificate",
            "its certificate is for other names",
        ),
        ("certificate has expired", "its certificate has expired"),
        ("certificate_verify_failed|unable to get local issuer", "its certificate is not signed by the CA"),
        ("handshake failed|handshaker|ssl_error|wrong_version_number", "the TLS handshake failed"),
        ("dns resolution failed|name not found|not known", "its name does not resolve"),
        ("no route to host|network is unreachable", "no route to the address"),
        ("proxy.*[45][0-9][0-9]", "the proxy could not reach it"),
        ("timeout occurred|timed out|fd shutdown", "connecting timed out"),
        ("socket closed|connection reset|goaway|broken pipe|end of tcp|ping timeout", "connection lost"),
    )
)
"""The transport words the same outage differently from call to call; a condition must not tick with it."""


def from_status(
    code: grpc.StatusCode, details: str | None, *, address: str, service: str, method: str
) -> RouterError:
    """The error of a gRPC status other than OK.

    :param service: as in the method table, without the package prefix: ``router.RouterAdmin``.
    """
    text = _cut(details or "")
    kind = _BY_CODE.get(code, Faulty)
    if is_lost(code.name, details):
        return Unreachable("gRPC lost the router's answer", address=address, method=method)
    if kind is Overloaded and _TOO_LONG.search(text):
        # The router did answer, and only a refusal is that long.
        return Rejected("rejected, with a message that is too long", address=address, method=method)
    if kind is Overloaded and _TOO_LARGE.search(text):
        return Rejected(text, address=address, method=method)
    if kind is Unimplemented:
        message = "UNIMPLEMENTED" if not text else f"UNIMPLEMENTED: {text}"
        admin = service == _ADMIN_SERVICE
        return (RouterAdminUnavailable if admin else Unimplemented)(message, address=address, method=method)
    if kind in (Faulty, Unreachable, Rejected) and _NOT_LEADER.search(text):
        return NotLeader(text, address=address, method=method)
    if kind is Faulty and _NO_COMMIT.search(text):
        return TimedOut(text, address=address, method=method)
    if kind is TimedOut:
        return TimedOut(_deadline_text(text), address=address, method=method)
    if kind is Unreachable:
        return Unreachable(_stable(text), address=address, method=method)
    return kind(text or code.name, address=address, method=method)


def from_refusal(text: str, *, address: str, method: str) -> RouterError:
    """The error of ``success=false`` in an OK answer."""
    text = _cut(text)
    if _NOT_LEADER.search(text):
        return NotLeader(text, address=address, method=method)
    if _NO_COMMIT.search(text):
        return TimedOut(text, address=address, method=method)
    kind = Missing if _NOT_FOUND.search(text) else Rejected
    return kind(text or "rejected without a reason", address=address, method=method)


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_LIMIT else f"{text[:TEXT_LIMIT]} ... ({len(text)} characters)"


def _stable(text: str) -> str:
    for pattern, message in _STABLE:
        if pattern.search(text):
            return message
    return text or "no answer"


def _deadline_text(text: str) -> str:
    # The library's own wording carries figures that change; a router's own text is kept.
    return "no answer in time" if not text or text.lower().startswith("deadline exceeded") else text
