"""The garbage collector, and what it need not look at; and memory the system can have back."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from functools import cache
from typing import Any


def freeze(*, collect: bool) -> None:
    """Take everything alive now out of the collector's sight.

    For the moments when much has come to stay: after imports, and after caches have filled. Modules are a
    hundred thousand objects and more; a full collection without them takes milliseconds and not a tenth of
    a second. What is frozen is still freed by its reference count; only a cycle of it would stay permanently.

    :param collect: garbage first. Right after imports there is next to none, and looking for it takes as
        long as taking in a thousand objects.
    """
    if collect:
        gc.collect()
    gc.freeze()


def give_back() -> None:
    """Return free memory to the system, where the C library can.

    glibc keeps what is freed below something that is still in use, as happens when a large list turns into a
    small store. Takes a millisecond or so, and no lock of the interpreter's.
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], Any] | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        # Another C library, which needs no call, or has no such function.
        return None
