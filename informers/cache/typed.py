"""An object with a type, for the time of one reconcile.

::

    async def reconcile(self, key):
        view = self.pipelines.get(key)
        pipeline = Typed(view, PipelineSpec, PipelineStatus)
        if pipeline.spec.enabled: ...          # validated here, and only once
        pipeline.view.labels, pipeline.view.generation

What is not looked at is not decoded: validating a spec from its own bytes costs a third of validating the
whole object.
"""

from __future__ import annotations

from functools import cached_property
from typing import Generic, TypeVar

import msgspec

from informers.cache.view import View, decode_as

SpecT = TypeVar("SpecT")
StatusT = TypeVar("StatusT")


class _Parts(msgspec.Struct, gc=False):
    spec: msgspec.Raw = msgspec.Raw()
    status: msgspec.Raw = msgspec.Raw()


_PARTS = msgspec.json.Decoder(_Parts)
_NULL = b"null"


class Typed(Generic[SpecT, StatusT]):
    """A view with a typed ``spec`` and ``status``. Make one per reconcile and let it go: it remembers what
    it has decoded, and is its owner's alone.

    :param view: the object; its metadata are the view's attributes.
    :param spec: a pydantic model, or anything msgspec decodes.
    :param status: the same for the status.
    """

    def __init__(self, view: View, spec: type[SpecT], status: type[StatusT]) -> None:
        self.view = view
        self._spec = spec
        self._status = status

    @cached_property
    def spec(self) -> SpecT:
        """The spec; an object without one is read as if it were ``{}``.

        :raises ValueError: when it does not fit: pydantic's or msgspec's ``ValidationError``.
        """
        raw = self._parts.spec
        return decode_as(raw if _present(raw) else b"{}", self._spec)

    @cached_property
    def status(self) -> StatusT | None:
        """The status, or ``None`` where nobody has written one.

        :raises ValueError: when it does not fit: pydantic's or msgspec's ``ValidationError``.
        """
        raw = self._parts.status
        return decode_as(raw, self._status) if _present(raw) else None

    @cached_property
    def _parts(self) -> _Parts:
        return _PARTS.decode(self.view.json)


def _present(raw: msgspec.Raw) -> bool:
    return len(raw) > 0 and bytes(raw) != _NULL
