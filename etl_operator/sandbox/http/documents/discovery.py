"""What this server serves, in two forms: the classic documents and the aggregated one kubectl prefers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from informers.apiserver.kinds.registry import ResourceType
from informers.objects import Object, Resource

_DISCOVERY_V2 = "apidiscovery.k8s.io/v2"


@dataclass(frozen=True, slots=True)
class Subresource:
    """A path below an object. ``group`` and ``version`` are those of the body's kind."""

    name: str
    kind: str
    verbs: tuple[str, ...]
    group: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class Served:
    """One resource as discovery describes it."""

    resource: Resource
    singular: str
    short_names: tuple[str, ...]
    categories: tuple[str, ...]
    verbs: tuple[str, ...]
    subresources: tuple[Subresource, ...] = ()


def _review(group: str, plural: str, kind: str, *, namespaced: bool = False) -> Served:
    resource = Resource(group, "v1", plural, kind, namespaced)
    return Served(resource, kind.lower(), (), (), ("create",))


REVIEWS: tuple[Served, ...] = (
    _review("authentication.k8s.io", "selfsubjectreviews", "SelfSubjectReview"),
    _review("authentication.k8s.io", "tokenreviews", "TokenReview"),
    _review("authorization.k8s.io", "localsubjectaccessreviews", "LocalSubjectAccessReview", namespaced=True),
    _review("authorization.k8s.io", "selfsubjectaccessreviews", "SelfSubjectAccessReview"),
    _review("authorization.k8s.io", "selfsubjectrulesreviews", "SelfSubjectRulesReview"),
    _review("authorization.k8s.io", "subjectaccessreviews", "SubjectAccessReview"),
)
"""Questions that are answered and not stored."""

_EXTRA: Mapping[tuple[str, str], tuple[Subresource, ...]] = {
    ("", "namespaces"): (Subresource("finalize", "Namespace", ("update",)),),
    ("", "pods"): (
        Subresource("binding", "Binding", ("create",)),
        Subresource("eviction", "Eviction", ("create",), "policy", "v1"),
        Subresource("log", "Pod", ("get",)),
    ),
    ("", "serviceaccounts"): (
        Subresource("token", "TokenRequest", ("create",), "authentication.k8s.io", "v1"),
    ),
    ("certificates.k8s.io", "certificatesigningrequests"): (
        Subresource("approval", "CertificateSigningRequest", ("get", "patch", "update")),
    ),
}


class Discovery:
    """The documents for one set of resources, built again whenever that set changes.

    :param types: every resource version served.
    """

    def __init__(self, types: Iterable[ResourceType]) -> None:
        groups: dict[str, dict[str, list[Served]]] = {}
        for served in (*(_served(one) for one in types), *REVIEWS):
            versions = groups.setdefault(served.resource.group, {})
            versions.setdefault(served.resource.version, []).append(served)
        self._groups = {
            group: {
                version: _by_name(groups[group][version]) for version in sorted(groups[group], key=_priority)
            }
            for group in sorted(groups)
        }

    def versions(self) -> Iterator[tuple[str, str, Sequence[Served]]]:
        """Every group, version and its resources, the preferred version of a group first."""
        for group, versions in self._groups.items():
            for version, resources in versions.items():
                yield group, version, resources

    def core_versions(self, address: str) -> Object:
        """``GET /api``."""
        return {
            "kind": "APIVersions",
            "versions": list(self._groups.get("", {"v1": []})),
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
        }

    def group_list(self) -> Object:
        """``GET /apis``."""
        groups = [_group(group, list(versions)) for group, versions in self._groups.items() if group]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}

    def group(self, group: str) -> Object | None:
        """``GET /apis/<group>``; ``None`` when there is no such group."""
        if not group or group not in self._groups:
            return None
        return {"kind": "APIGroup", "apiVersion": "v1", **_group(group, list(self._groups[group]))}

    def resource_list(self, group: str, version: str) -> Object | None:
        """``GET /api/v1`` and ``GET /apis/<group>/<version>``; ``None`` when it is not served."""
        resources = self._groups.get(group, {}).get(version)
        if resources is None:
            return None
        return {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": f"{group}/{version}" if group else version,
            "resources": [entry for served in resources for entry in _entries(served)],
        }

    def aggregated(self, *, core: bool) -> Object:
        """``GET /api`` (``core``) or ``GET /apis`` in the aggregated form: one answer instead of dozens."""
        items = [
            {
                "metadata": {"name": group, "creationTimestamp": None},
                "versions": [
                    {
                        "version": version,
                        "resources": [_aggregated(served) for served in resources],
                        "freshness": "Current",
                    }
                    for version, resources in versions.items()
                ],
            }
            for group, versions in self._groups.items()
            if (not group) is core
        ]
        return {"kind": "APIGroupDiscoveryList", "apiVersion": _DISCOVERY_V2, "metadata": {}, "items": items}


def _served(one: ResourceType) -> Served:
    resource = one.resource
    subresources: list[Subresource] = list(_EXTRA.get((resource.group, resource.plural), ()))
    if one.has_status:
        subresources.append(Subresource("status", resource.kind, ("get", "patch", "update")))
    if one.has_scale:
        subresources.append(Subresource("scale", "Scale", ("get", "patch", "update"), "autoscaling", "v1"))
    subresources.sort(key=lambda subresource: subresource.name)
    return Served(
        resource,
        one.singular,
        tuple(one.short_names),
        tuple(one.categories),
        tuple(one.verbs),
        tuple(subresources),
    )


def _by_name(resources: Sequence[Served]) -> list[Served]:
    return sorted(resources, key=lambda served: served.resource.plural)


_VERSION = re.compile(r"v(\d+)(?:(alpha|beta)(\d+))?")
_STABILITY = {None: 0, "beta": 1, "alpha": 2}


def _priority(version: str) -> tuple[int, int, int, str]:
    """Kubernetes' order of versions: stable before beta before alpha, higher before lower."""
    match = _VERSION.fullmatch(version)
    if match is None:
        return (len(_STABILITY), 0, 0, version)
    major, stability, minor = match.groups()
    return (_STABILITY[stability], -int(major), -int(minor or 0), version)


def _group(group: str, versions: Sequence[str]) -> Object:
    entries = [{"groupVersion": f"{group}/{version}", "version": version} for version in versions]
    return {"name": group, "versions": entries, "preferredVersion": entries[0]}


def _entries(served: Served) -> Iterator[Object]:
    resource = served.resource
    entry: Object = {
        "name": resource.plural,
        "singularName": served.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(served.verbs),
    }
    if served.short_names:
        entry["shortNames"] = list(served.short_names)
    if served.categories:
        entry["categories"] = list(served.categories)
    yield entry
    for subresource in served.subresources:
        below: Object = {
            "name": f"{resource.plural}/{subresource.name}",
            "singularName": "",
            "namespaced": resource.namespaced,
            "kind": subresource.kind,
            "verbs": list(subresource.verbs),
        }
        if subresource.group:
            below |= {"group": subresource.group, "version": subresource.version}
        yield below


def _aggregated(served: Served) -> Object:
    resource = served.resource
    entry: Object = {
        "resource": resource.plural,
        "responseKind": _kind(resource.group, resource.version, resource.kind),
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": served.singular,
        "verbs": list(served.verbs),
    }
    if served.short_names:
        entry["shortNames"] = list(served.short_names)
    if served.categories:
        entry["categories"] = list(served.categories)
    if served.subresources:
        entry["subresources"] = [
            {
                "subresource": one.name,
                "responseKind": _kind(one.group, one.version, one.kind)
                if one.group
                else _kind(resource.group, resource.version, one.kind),
                "verbs": list(one.verbs),
            }
            for one in served.subresources
        ]
    return entry


def _kind(group: str, version: str, kind: str) -> dict[str, Any]:
    return {"group": group, "version": version, "kind": kind}
