"""The log of recent writes, for tests that count them."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from informers.apiserver.requests.calls import Call
from informers.objects import Resource

_KEPT = 10_000


class WriteRecord(NamedTuple):
    """One request that changed something.

    :param revision: the store's revision after it.
    :param time: seconds since the epoch.
    :param name: "" for a collection or a generated name.
    :param manager: ``fieldManager`` as sent, or the user agent.
    """

    revision: int
    time: float
    verb: str
    resource: Resource
    namespace: str
    name: str
    subresource: str
    user: str
    manager: str


class WriteLog:
    """The last writes, oldest first; requests that changed nothing are not among them."""

    def __init__(self) -> None:
        self._records: deque[WriteRecord] = deque(maxlen=_KEPT)

    def record(self, call: Call, revision: int, time: float) -> None:
        """Remember a request that has just changed something; for the rest see :class:`WriteRecord`."""
        info, body = call.info, call.body
        name = info.name
        if not name and info.verb == "create" and isinstance(body, dict):
            name = (body.get("metadata") or {}).get("name") or ""
        self._records.append(
            WriteRecord(
                revision,
                time,
                info.verb,
                info.type.resource,
                info.namespace,
                name,
                info.subresource,
                call.user,
                info.query.get("fieldManager") or call.user_agent,
            )
        )

    def since(self, revision: int) -> list[WriteRecord]:
        """The writes after a revision."""
        return [one for one in self._records if one.revision > revision]
