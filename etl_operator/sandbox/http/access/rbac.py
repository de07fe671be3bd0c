"""Role-based access control: decides from role and binding objects, without any I/O.

Policies only ever grant. A request is allowed when one rule, reached through one binding of the
user, matches it; nothing can take a grant away.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from etl_operator.sandbox.http.access.identity import MASTERS, Identity, service_account_of

_ALL = "*"
RBAC_GROUP = "rbac.authorization.k8s.io"

RawObject = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Attributes:
    """What someone wants to do. Either ``path`` is set (a non-resource request) or ``resource`` is.

    :param namespace: "" for cluster-scoped resources and for requests across all namespaces.
    :param name: "" where the request names no object (list, watch, create, deletecollection).
    """

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """One ``PolicyRule``."""

    verbs: frozenset[str]
    groups: frozenset[str]
    resources: frozenset[str]
    names: frozenset[str]
    urls: tuple[str, ...]

    @classmethod
    def parse(cls, raw: RawObject) -> Rule:
        """From the object's own shape; missing lists grant nothing (``resourceNames`` missing: all)."""
        return cls(
            frozenset(raw.get("verbs") or ()),
            frozenset(raw.get("apiGroups") or ()),
            frozenset(raw.get("resources") or ()),
            frozenset(raw.get("resourceNames") or ()),
            tuple(raw.get("nonResourceURLs") or ()),
        )

    def allows(self, wanted: Attributes) -> bool:
        """Whether this rule alone grants the request."""
        if _ALL not in self.verbs and wanted.verb not in self.verbs:
            return False
        if wanted.path:
            return any(_matches_url(url, wanted.path) for url in self.urls)
        if _ALL not in self.groups and wanted.group not in self.groups:
            return False
        if self.names and wanted.name not in self.names:
            return False
        return self._covers(wanted.resource, wanted.subresource)

    def _covers(self, resource: str, subresource: str) -> bool:
        if _ALL in self.resources:
            return True
        if not subresource:
            return resource in self.resources
        return f"{resource}/{subresource}" in self.resources or f"*/{subresource}" in self.resources


@dataclass(frozen=True, slots=True)
class _Binding:
    name: str
    namespace: str
    users: frozenset[str]
    groups: frozenset[str]
    role: str
    rules: tuple[Rule, ...]

    def binds(self, user: Identity) -> bool:
        return user.name in self.users or not self.groups.isdisjoint(user.groups)

    def __str__(self) -> str:
        if self.namespace:
            return f'RoleBinding "{self.name}/{self.namespace}" of {self.role}'
        return f'ClusterRoleBinding "{self.name}" of {self.role}'


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer, and for a grant where it comes from."""

    allowed: bool
    reason: str = ""


class Policy:
    """All grants, compiled once from the four kinds of objects."""

    def __init__(
        self,
        cluster_roles: Iterable[RawObject],
        roles: Iterable[RawObject],
        cluster_role_bindings: Iterable[RawObject],
        role_bindings: Iterable[RawObject],
    ) -> None:
        shared = _cluster_rules(list(cluster_roles))
        local = {
            (role["metadata"]["namespace"], role["metadata"]["name"]): _rules(role.get("rules"))
            for role in roles
        }
        self._cluster = [
            _binding(one, shared.get(one["roleRef"]["name"], ()), "") for one in cluster_role_bindings
        ]
        self._local: dict[str, list[_Binding]] = {}
        for one in role_bindings:
            namespace, reference = one["metadata"]["namespace"], one["roleRef"]
            if reference["kind"] == "ClusterRole":
                rules = shared.get(reference["name"], ())
            else:
                rules = local.get((namespace, reference["name"]), ())
            self._local.setdefault(namespace, []).append(_binding(one, rules, namespace))

    def decide(self, user: Identity, wanted: Attributes) -> Decision:
        """Whether the user may do it."""
        if MASTERS in user.groups:
            return Decision(True)
        for binding in self._bindings(user, wanted.namespace):
            if any(rule.allows(wanted) for rule in binding.rules):
                return Decision(True, f"RBAC: allowed by {binding} to {user.name}")
        return Decision(False)

    def rules(self, user: Identity, namespace: str) -> list[Rule]:
        """Everything granted to the user in a namespace, cluster-wide grants included."""
        if MASTERS in user.groups:
            everything = frozenset({_ALL})
            return [
                Rule(everything, everything, everything, frozenset(), ()),
                Rule(everything, frozenset(), frozenset(), frozenset(), (_ALL,)),
            ]
        found = [rule for binding in self._bindings(user, namespace) for rule in binding.rules]
        return list(dict.fromkeys(found))

    def _bindings(self, user: Identity, namespace: str) -> Iterator[_Binding]:
        for binding in self._cluster:
            if binding.binds(user):
                yield binding
        # A request across all namespaces has the namespace "": only cluster bindings can grant it.
        for binding in self._local.get(namespace, ()):
            if binding.binds(user):
                yield binding


def forbidden_message(user: Identity, wanted: Attributes) -> str:
    """The sentence kubectl users know. The caller puts the object's kind and name before it."""
    if wanted.path:
        return f'User "{user.name}" cannot {wanted.verb} path "{wanted.path}"'
    resource = f"{wanted.resource}/{wanted.subresource}" if wanted.subresource else wanted.resource
    where = f' in the namespace "{wanted.namespace}"' if wanted.namespace else " at the cluster scope"
    return (
        f'User "{user.name}" cannot {wanted.verb} resource "{resource}" in API group "{wanted.group}"{where}'
    )


def _matches_url(pattern: str, path: str) -> bool:
    if pattern.endswith(_ALL):
        return path.startswith(pattern[:-1])
    return pattern == path


def _rules(raw: Sequence[RawObject] | None) -> tuple[Rule, ...]:
    return tuple(Rule.parse(rule) for rule in raw or ())


def _cluster_rules(roles: Sequence[RawObject]) -> dict[str, tuple[Rule, ...]]:
    """Rules per cluster role; an aggregating role has the rules of every role its selectors match."""
    rules = {role["metadata"]["name"]: _rules(role.get("rules")) for role in roles}
    labels = {role["metadata"]["name"]: role["metadata"].get("labels") or {} for role in roles}
    aggregated: dict[str, tuple[Rule, ...]] = {}
    for role in roles:
        name = role["metadata"]["name"]
        selectors = (role.get("aggregationRule") or {}).get("clusterRoleSelectors") or ()
        members = [
            other
            for other in rules
            if other != name and any(_selects(selector, labels[other]) for selector in selectors)
        ]
        aggregated[name] = rules[name] + tuple(rule for member in members for rule in rules[member])
    return aggregated


def _selects(selector: RawObject, labels: Mapping[str, str]) -> bool:
    wanted = selector.get("matchLabels") or {}
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    return all(_expression(one, labels) for one in selector.get("matchExpressions") or ())


def _expression(expression: RawObject, labels: Mapping[str, str]) -> bool:
    key, values = expression["key"], expression.get("values") or ()
    match expression["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
    return False


def _binding(raw: RawObject, rules: tuple[Rule, ...], namespace: str) -> _Binding:
    users: set[str] = set()
    groups: set[str] = set()
    for subject in raw.get("subjects") or ():
        kind, name = subject["kind"], subject["name"]
        if kind == "ServiceAccount":
            users.add(f"system:serviceaccount:{subject.get('namespace') or namespace}:{name}")
        elif kind == "User":
            users.add(name)
        elif kind == "Group":
            groups.add(name)
    reference = raw["roleRef"]
    return _Binding(
        raw["metadata"]["name"],
        namespace,
        frozenset(users),
        frozenset(groups),
        f'{reference["kind"]} "{reference["name"]}"',
        rules,
    )


def attributes_for_impersonation(user: str, groups: Sequence[str]) -> Iterator[Attributes]:
    """What must be allowed before someone acts as ``user`` with ``groups``."""
    account = service_account_of(user)
    if account is not None:
        namespace, name = account
        yield Attributes("impersonate", "", "serviceaccounts", namespace=namespace, name=name)
    else:
        yield Attributes("impersonate", "", "users", name=user)
    for group in groups:
        yield Attributes("impersonate", "", "groups", name=group)
