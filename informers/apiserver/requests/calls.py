"""A decoded request, and the answers to one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from informers.apiserver.requests.routes import RequestInfo
from informers.apiserver.store import Stored
from informers.objects import Object


@dataclass(frozen=True, slots=True)
class Call:
    """One request, decoded.

    :param body: the object, patch or ``DeleteOptions``; the server keeps parts of it, so it must not be
        changed afterwards.
    :param content_type: the bare media type of a patch.
    :param user: who asks, for the journal of writes.
    :param user_agent: names the field manager when the query does not.
    :param user_info: who asks, in the ``UserInfo`` shape of reviews.
    """

    info: RequestInfo
    body: Any = None
    content_type: str = "application/json"
    user: str = ""
    user_agent: str = ""
    user_info: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ObjectOutcome:
    """One object, or a ``Status``.

    :param code: HTTP status code.
    :param stored: set when the object is the stored one, whose encoded bytes can be shared.
    """

    code: int
    obj: Object
    stored: Stored | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ListOutcome:
    """A list.

    :param metadata: ``resourceVersion``, ``continue`` and ``remainingItemCount``.
    """

    items: Sequence[Stored]
    metadata: Mapping[str, Any]


def success(details: Mapping[str, Any] | None = None, code: int = 200) -> ObjectOutcome:
    """A ``Status`` of success."""
    status: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    if details:
        status["details"] = dict(details)
    else:
        status["code"] = code
    return ObjectOutcome(code, status)
