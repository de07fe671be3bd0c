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

from typing import Generic, TypeVar

import msgspec

from informers.cache.view import View, reader

SpecT = TypeVar("SpecT")
StatusT = TypeVar("StatusT")


class _Parts(msgspec.Struct, gc=False):
    spec: msgspec.Raw = msgspec.Raw()
    status: msgspec.Raw = msgspec.Raw()


_decode = msgspec.json.Decoder(_Parts).decode
_ABSENT = frozenset((b"", b"null"))


class Typed(Generic[SpecT, StatusT]):
    """A view with a typed ``spec`` and ``status``. Make one per reconcile and let it go: it remembers what
    it has decoded, and is its owner's alone.

    :param view: the object; its metadata are the view's attributes.
    :param spec: a pydantic model, or anything msgspec decodes.
    :param status: the same for the status.
    """

    _parts: _Parts | None = None
    _read_spec: SpecT | None = None
    _read_status: StatusT | None = None

    def __init__(self, view: View, spec: type[SpecT], status: type[StatusT]) -> None:
        self.view = view
        self._spec = spec
        self._status = status

    @property
    def spec(self) -> SpecT:
        """The spec; an object without one is read as if it were ``{}``.

        :raises ValueError: when it does not fit: pydantic's or msgspec's ``ValidationError``.
        """
        read = self._read_spec
        if read is None:
            content = bytes((self._parts or self._split()).spec)
            if len(content) < 5 and content in _ABSENT:
                content = b"{}"
            read = self._read_spec = reader(self._spec)(content)
        return read

    @property
    def status(self) -> StatusT | None:
        """The status, or ``None`` where nobody has written one.

        :raises ValueError: when it does not fit: pydantic's or msgspec's ``ValidationError``.
        """
        if self._read_status is None:
            content = bytes((self._parts or self._split()).status)
            if len(content) > 4 or content not in _ABSENT:
                self._read_status = reader(self._status)(content)
        return self._read_status

    def _split(self) -> _Parts:
        """The bytes of the two parts; the rest of the object is not decoded."""
        self._parts = _decode(self.view.json)
        return self._parts
