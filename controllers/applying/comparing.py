"""Whether the API server holds what we would send: the question behind "zero writes when converged". Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

APPLIED_HASH = "etl.router/applied-hash"
"""Annotation on every child: the digest of what was applied last. A field that left the desired object
is still in the observed one and would not be noticed by comparing alone."""

_QUANTITY_MAPS = frozenset({"requests", "limits", "overhead", "capacity"})
"""Maps whose values are quantities."""

_QUANTITIES = frozenset({"divisor", "sizeLimit"})
"""Fields that are quantities themselves. The server stores every quantity in its canonical spelling."""

_TEXT_MAPS = frozenset(
    {"annotations", "binaryData", "data", "labels", "matchLabels", "nodeSelector", "selector"}
)
"""Maps from text to text: an empty value in them is a value, and is stored."""

_EMPTY_IS_A_VALUE = frozenset({"storageClassName"})
"""Text fields in which "" is stored, and differs from nothing: pointers in the Go types of the API."""

_MERGE_KEYS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "claims": (("name",),),
    "conditions": (("type",),),
    "containers": (("name",),),
    "env": (("name",),),
    "ephemeralContainers": (("name",),),
    "evictionResponders": (("name",),),
    "hostAliases": (("ip",),),
    "imagePullSecrets": (("name",),),
    "initContainers": (("name",),),
    "ownerReferences": (("uid",),),
    # Of a container, and of a Service.
    "ports": (("containerPort", "protocol"), ("port", "protocol")),
    "resourceClaims": (("name",),),
    "schedulingGates": (("name",),),
    "secrets": (("name",),),
    "topologySpreadConstraints": (("topologyKey", "whenUnsatisfiable"),),
    "volumeDevices": (("devicePath",),),
    "volumeMounts": (("mountPath",),),
    "volumes": (("name",),),
}
"""Lists the API server merges by keys (``x-kubernetes-list-map-keys`` of the children's kinds): others may
add items, so only ours are looked for. Every other list is compared as a whole."""

_KEY_DEFAULTS: Mapping[str, str] = {"protocol": "TCP"}
"""What the server takes for a merge key that is not there."""

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


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that the server stores with another value than the one that was sent.

    :param path: field names from the root of the object; items of lists in brackets.
    :param stored: ``None`` when it is not there at all.
    """

    path: tuple[str, ...]
    sent: Any
    stored: Any

    @property
    def field(self) -> str:
        """The path for people: ``spec.template.spec.containers[router].image``."""
        return "".join(part if part.startswith("[") else f".{part}" for part in self.path).removeprefix(".")


def without_empty_texts(value: Any, field: str = "") -> Any:
    """A copy without fields whose text is empty, which the server does not store (``omitempty``).

    Sent or not, they mean the same; left out, what was sent can be found in what is stored.
    """
    if isinstance(value, dict):
        if field in _TEXT_MAPS:
            return value
        return {
            key: without_empty_texts(one, key)
            for key, one in value.items()
            if one != "" or key in _EMPTY_IS_A_VALUE
        }
    if isinstance(value, list):
        return [without_empty_texts(one) for one in value]
    return value


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
    if field == "quantity" or field in _QUANTITIES:
        return _same_quantity(observed, desired)
    return bool(observed == desired)


def differences(
    observed: Any, desired: Any, field: str = "", path: tuple[str, ...] = ()
) -> Iterator[Difference]:
    """The deepest fields in which ``observed`` lacks what ``desired`` asks for; none when it has all."""
    if contains(observed, desired, field):
        return
    if isinstance(observed, dict) and isinstance(desired, dict):
        inside = "quantity" if field in _QUANTITY_MAPS else None
        for key, value in desired.items():
            yield from differences(observed.get(key), value, inside or key, (*path, key))
        return
    pairs = _pairs(observed, desired, field)
    if pairs is None:
        yield Difference(path, desired, observed)
        return
    for name, one, wanted in pairs:
        yield from differences(one, wanted, path=(*path, f"[{name}]"))


def _contains_items(observed: Any, desired: Sequence[Any], field: str) -> bool:
    if not isinstance(observed, list | tuple):
        return observed is None and not desired
    pairs = _pairs(observed, desired, field)
    return pairs is not None and all(contains(one, wanted) for _, one, wanted in pairs)


def _pairs(observed: Any, desired: Any, field: str) -> list[tuple[str, Any, Any]] | None:
    """Which item of a stored list each item we sent is to be compared with, and how people call it; ``None``
    when the lists can only be compared as wholes."""
    if not isinstance(observed, list | tuple) or not isinstance(desired, list | tuple):
        return None
    for keys in _MERGE_KEYS.get(field, ()):
        ours, theirs = _keyed(desired, keys), _keyed(observed, keys)
        if ours is not None and theirs is not None:
            return [("/".join(map(str, key)), theirs.get(key), item) for key, item in ours.items()]
    if len(observed) != len(desired):
        return None
    return [(str(index), *both) for index, both in enumerate(zip(observed, desired, strict=True))]


def _keyed(items: Sequence[Any], keys: tuple[str, ...]) -> dict[tuple[Any, ...], Any] | None:
    """The items by their merge keys; ``None`` when one has none or no plain value, or two have the same."""
    found: dict[tuple[Any, ...], Any] = {}
    for item in items:
        if not isinstance(item, dict) or keys[0] not in item:
            return None
        values = tuple(item.get(key, _KEY_DEFAULTS.get(key)) for key in keys)
        if any(isinstance(value, list | tuple | dict) for value in values):
            return None
        found[values] = item
    return found if len(found) == len(items) else None


def _same_quantity(observed: Any, desired: Any) -> bool:
    try:
        return quantity(observed) == quantity(desired)
    except ValueError:
        return bool(observed == desired)
