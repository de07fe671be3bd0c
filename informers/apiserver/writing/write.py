"""A create, an update or a patch that is being carried out."""

from __future__ import annotations

from typing import Any

from informers.apiserver.builtin.context import Context
from informers.apiserver.errors import StatusError
from informers.apiserver.errors.refusals import bad_request, undecodable_patch
from informers.apiserver.fields import Manager
from informers.apiserver.reading.selection import shown, stored_of
from informers.apiserver.requests.calls import Call
from informers.apiserver.requests.parameters import write_options
from informers.apiserver.store import Stored
from informers.apiserver.writing.backend import Backend


class Write:
    """What the steps of one write share: the request, its options, the time, the warnings so far.

    A write runs from its first check to its commit without waiting for anything, so writes are serial and
    need no lock.

    :param backend: the store, and what decides how it may change.
    :param call: the request.
    """

    def __init__(self, backend: Backend, call: Call) -> None:
        self.backend = backend
        self.call = call
        self.info = call.info
        self.type = call.info.type
        self.options = write_options(call.info.query, call.info.verb)
        self.warnings: list[str] = []
        self.now = backend.now()
        self.patched: Any = None
        """What a patch made of the object, for refusals that show it."""

    def manager(self, *, applies: bool = False) -> Manager:
        """Who writes, for ``managedFields``: as named, or the client's program."""
        program = self.call.user_agent.partition("/")[0]
        return Manager(
            self.options.manager or "".join(filter(str.isprintable, program))[:128] or "unknown",
            "Apply" if applies else "Update",
            self.type.resource.api_version,
            self.info.subresource if self.info.subresource != "finalize" else "",
        )

    @property
    def context(self) -> Context:
        """What the rules of the kind may know."""
        user = self.call.user_info
        return self.backend.context(self.type, self.info.subresource, user, self.warnings)

    def live(self) -> Stored | None:
        """The object as it is now, in the version of the request."""
        found = stored_of(self.backend.store, self.info)
        return shown(self.type, found) if found is not None else None

    def undecodable(self, why: str) -> StatusError:
        """What was sent, or what a patch makes of an object, is no object of this kind."""
        kind, version = self.type.resource.kind, self.type.resource.version
        if self.patched is not None and (not self.type.custom or why.startswith("strict decoding")):
            return undecodable_patch(self.patched, why.partition(f"handled as a {kind}: ")[2] or why)
        return bad_request(f'{kind} in version "{version}" cannot be handled as a {kind}: {why}')
