"""What crosses from the watch to the cache: five events and no others.

A new state is ``Init``, any number of ``InitApply`` (and ``Delete``), ``InitDone``; another ``Init`` before
that starts over. Between two new states come ``Apply`` and ``Delete``. Whether the state came in pages or as
a stream makes no difference here.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from informers.views.view import View


class Init(msgspec.Struct, frozen=True, gc=False):
    """A new state begins; whatever an unfinished one had collected is void."""


class InitApply(msgspec.Struct, frozen=True, gc=False):
    """An object of the new state."""

    view: View


class InitDone(msgspec.Struct, frozen=True, gc=False):
    """The new state is complete: what it lacks does not exist.

    :param version: the version of the whole state.
    """

    version: str


class Apply(msgspec.Struct, frozen=True, gc=False):
    """An object is there, or has changed."""

    view: View


class Delete(msgspec.Struct, frozen=True, gc=False):
    """An object is gone; the view is its last state, at the version of the deletion."""

    view: View


Event: TypeAlias = Init | InitApply | InitDone | Apply | Delete
