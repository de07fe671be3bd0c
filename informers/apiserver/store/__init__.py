"""The store: the objects of every resource, one revision counter, and a bounded history of changes."""

from __future__ import annotations

from informers.apiserver.store.objects import Change, StorageKey, Stored
from informers.apiserver.store.shelf import Shelf
from informers.apiserver.store.store import FIRST_REVISION, HISTORY, Store

__all__ = ["FIRST_REVISION", "HISTORY", "Change", "Shelf", "StorageKey", "Store", "Stored"]
