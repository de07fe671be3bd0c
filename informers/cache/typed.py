"""The parts of an object with a type, made of their own bytes: half the price of decoding the whole object.

::

    async def reconcile(self, key):
        view = self.pipelines.get(key)
        spec = read_spec(view, PipelineSpec)       # validated, and nothing else is decoded
        view.labels, view.generation               # metadata are the view's

:class:`Typed` is for code that hands an object on, and looks at its parts in several places.
"""

from __future__ import annotations

from functools import cached_property
from typing import Generic, TypeVar

import msgspec

from informers.cache.view import View, reader

T = TypeVar("T")
SpecT = TypeVar("SpecT")
StatusT = TypeVar("StatusT")


class _Parts(msgspec.Struct, gc=False):
    spec: msgspec.Raw = msgspec.Raw(b"{}")
    status: msgspec.Raw = msgspec.Raw(b"null")


_decode = msgspec.json.Decoder(_Parts).decode
_NULL = b"null"


def read_spec(view: View, model: type[T]) -> T:
    """The spec, made anew by every call; an object without one is read as if it were ``{}``.

    :param model: a pydantic model, or anything msgspec decodes.
    :raises ValueError: when it does not fit: pydantic's or msgspec's ``ValidationError``.
    """
    content = bytes(_decode(view.json).spec)
    made: T = reader(model)(content if content != _NULL else b"{}")
    return made


def read_status(view: View, model: type[T]) -> T | None:
    """The status, made anew by every call; ``None`` where nobody has written one.

    :param model: a pydantic model, or anything msgspec decodes.
    :raises ValueError: when it does not fit: pydantic's or msgspec's ``ValidationError``.
    """
    content = bytes(_decode(view.json).status)
    if content == _NULL:
        return None
    made: T = reader(model)(content)
    return made


class Typed(Generic[SpecT, StatusT]):
    """A view with a typed ``spec`` and ``status``, each validated when it is first looked at. Make one per
    reconcile and let it go: it remembers what it has decoded, and is its owner's alone.

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
        """As :func:`read_spec` has it."""
        return read_spec(self.view, self._spec)

    @cached_property
    def status(self) -> StatusT | None:
        """As :func:`read_status` has it."""
        return read_status(self.view, self._status)
