"""The small values everything else passes around. Frozen and slotted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

new_tuple = tuple.__new__
"""Makes a named tuple of a plain one, in a third of the time its constructor takes; for where every change of
every object passes."""

Object: TypeAlias = dict[str, Any]
"""A decoded Kubernetes object. What comes out of a cache must be treated as read-only."""


class ObjectKey(NamedTuple):
    """Namespace and name; the namespace is "" for cluster-scoped objects. Hashes as a tuple."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    @classmethod
    def of(cls, obj: Object) -> ObjectKey:
        """The key of a decoded object."""
        meta = obj["metadata"]
        return cls(meta.get("namespace", ""), meta["name"])


@dataclass(frozen=True, slots=True)
class Resource:
    """What the API server calls a resource, with what is needed to build its paths.

    :param group: API group; "" is the core group.
    :param plural: the lower-case plural used in paths.
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    def __hash__(self) -> int:
        # Resources are keys of many tables, and few share a plural.
        return hash(self.plural)

    @property
    def api_version(self) -> str:
        """``group/version``, or just ``version`` for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def root(self) -> str:
        """The path prefix of the group version: ``/api/v1`` or ``/apis/<group>/<version>``."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The request path; without a namespace a namespaced resource spans all of them."""
        path = self.root
        if self.namespaced and namespace:
            path += f"/namespaces/{namespace}"
        path += f"/{self.plural}"
        if name:
            path += f"/{name}"
        if subresource:
            path += f"/{subresource}"
        return path

    def __str__(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural


@dataclass(frozen=True, slots=True)
class Result:
    """What a reconcile asks for next. Raising instead asks for a retry with back-off."""

    requeue_after: float | None = None

    @classmethod
    def done(cls) -> Result:
        """Nothing to do until something changes."""
        return _DONE

    @classmethod
    def after(cls, seconds: float) -> Result:
        """Look again in ``seconds``, unless something changes before; at once if they are not positive.

        :raises ValueError: for what is no time to wait: an infinite one, or not a number.
        """
        if not -math.inf < seconds < math.inf:
            # Here, where the mistake is: a queue cannot put it in order.
            raise ValueError(f"not a valid time to wait: {seconds} s")
        return cls(requeue_after=seconds)


_DONE = Result()
