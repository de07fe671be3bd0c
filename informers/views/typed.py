"""The parts of an object with a type, made of their own bytes: half the price of decoding the whole object.

::

    async def reconcile(self, key):
        view = self.pipelines.get(key)
        spec = read_spec(view, PipelineSpec)       # validated, and nothing else is decoded
        view.labels, view.generation               # metadata are the view's

:class:`Typed` is for code that hands an object on, and looks at its parts in several places.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, cached_property
from typing import Any, Generic, TypeVar

import msgspec

from informers.views.view import View, reader

T = TypeVar("T")
SpecT = TypeVar("SpecT")
StatusT = TypeVar("StatusT")


def read_spec(view: View, model: type[T]) -> T:
    """The spec, made again by every call; an object without one is read as if it were ``{}``.

    :param model: a pydantic model, or anything msgspec decodes, which takes a third of the time.
    :raises ValueError: when it does not fit: pydantic's or msgspec's ``ValidationError``.
    """
    read: Callable[[bytes], T | None] = _part("spec", model)
    found = read(view.json)
    if found is None:
        nothing: T = reader(model)(b"{}")
        return nothing
    return found


def read_status(view: View, model: type[T]) -> T | None:
    """The status, made again by every call; ``None`` where nobody has written one.

    :param model: a pydantic model, or anything msgspec decodes, which takes a third of the time.
    :raises ValueError: when it does not fit: pydantic's or msgspec's ``ValidationError``.
    """
    read: Callable[[bytes], T | None] = _part("status", model)
    return read(view.json)


def _part_of(name: str, model: Any) -> Callable[[bytes], Any]:
    """Reads one part of an object in JSON; ``None`` where it is not there, or null."""
    validate = getattr(model, "model_validate_json", None)
    if validate is None:
        # One pass over the object, which skips all the rest.
        whole = msgspec.defstruct("Whole", [(name, model | None, None)], gc=False)
        decode = msgspec.json.Decoder(whole).decode
        return lambda content: getattr(decode(content), name)
    pieces = msgspec.defstruct("Pieces", [(name, msgspec.Raw, msgspec.Raw(b"null"))], gc=False)
    cut = msgspec.json.Decoder(pieces).decode

    def read(content: bytes) -> Any:
        part = bytes(getattr(cut(content), name))
        return validate(part) if part != b"null" else None

    return read


_part: Callable[[str, Any], Callable[[bytes], Any]] = cache(_part_of)


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
