"""Where objects live: shelves of stored objects, one revision counter, and a bounded memory of changes."""

from __future__ import annotations

from informers.apiserver.store.store import (
    FIRST_REVISION,
    HISTORY,
    Change,
    Shelf,
    StorageKey,
    Store,
    Stored,
)

__all__ = ["FIRST_REVISION", "HISTORY", "Change", "Shelf", "StorageKey", "Store", "Stored"]
