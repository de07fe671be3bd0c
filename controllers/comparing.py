"""Is what we want already there? The question behind "zero writes when converged". Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

APPLIED_HASH = "etl.router/applied-hash"
"""Annotation on every child: the digest of what was applied last. A field that left the desired object
is still in the observed one and would not be noticed by comparing alone."""

_QUANTITY_MAPS = frozenset({"requests", "limits"})
_MERGE_KEYS: Mapping[str, tuple[str, ...]] = {
    "containers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "imagePullSecrets": ("name",),
    "ownerReferences": ("uid",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
}
"""Lists the API server merges by key: others may add items, so only ours are looked for."""

_SUFFIXES: Mapping[str, Decimal] = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "E": Decimal(10**18),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}
_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|)")


def quantity(text: Any) -> Decimal:
    """The value of a Kubernetes quantity such as ``10Gi``, ``500m`` or ``1e3``.

    :raises ValueError: when it is none.
    """
    match = _QUANTITY.fullmatch(str(text).strip())
    if match is None:
        raise ValueError(f"{text!r} is not a quantity")
    return Decimal(match[1]) * _SUFFIXES[match[2]]


def digest(value: Any) -> str:
    """A short digest that does not depend on the order of keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def contains(observed: Any, desired: Any, field: str = "") -> bool:
    """Whether ``observed`` has everything ``desired`` asks for; what it has besides is not ours to judge.

    :param field: name of the field both are the value of; quantities and merged lists are known by it.
    """
    # Both are decoded JSON, or literals of the same types. Asking for abstract types is ten times slower.
    if isinstance(desired, dict):
        if not desired:
            return observed is None or isinstance(observed, dict)
        if not isinstance(observed, dict):
            return False
        inside = "quantity" if field in _QUANTITY_MAPS else None
        return all(contains(observed.get(key), value, inside or key) for key, value in desired.items())
    if isinstance(desired, list | tuple):
        return _contains_items(observed, desired, field)
    if field == "quantity":
        return _same_quantity(observed, desired)
    return bool(observed == desired)


def _contains_items(observed: Any, desired: Sequence[Any], field: str) -> bool:
    if not isinstance(observed, list | tuple):
        return observed is None and not desired
    keys = _MERGE_KEYS.get(field)
    if keys is None or not all(isinstance(item, dict) for item in (*observed, *desired)):
        return len(observed) == len(desired) and all(map(contains, observed, desired))
    by_key = {tuple(item.get(key) for key in keys): item for item in observed}
    return all(contains(by_key.get(tuple(item.get(key) for key in keys)), item) for item in desired)


def _same_quantity(observed: Any, desired: Any) -> bool:
    try:
        return quantity(observed) == quantity(desired)
    except ValueError:
        return bool(observed == desired)
