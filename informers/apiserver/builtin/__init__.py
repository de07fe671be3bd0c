"""The rules of the built-in kinds that no schema says: defaults, forms, allocations, what may change."""

from __future__ import annotations

from informers.apiserver.builtin.passive_rules import SYSTEM_PRIORITIES
from informers.apiserver.builtin.services import ADDRESSES

__all__ = ["ADDRESSES", "SYSTEM_PRIORITIES"]
