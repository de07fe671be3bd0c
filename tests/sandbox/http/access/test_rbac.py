"""Who may do what: decided from role and binding objects."""

from __future__ import annotations

from typing import Any

import pytest

from etl_operator.sandbox.http.access.identity import ADMIN, ANONYMOUS, Identity, service_account
from etl_operator.sandbox.http.access.rbac import (
    Attributes,
    Policy,
    attributes_for_impersonation,
    forbidden_message,
)
from etl_operator.sandbox.http.bootstrap.objects import bootstrap_objects
from informers.objects import Object

ALICE = Identity("alice", ("developers", "system:authenticated"))
ROBOT = service_account("ns", "robot", "uid")


def rule(**fields: Any) -> Object:
    return {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"], **fields}


def role(name: str, *rules: Object, namespace: str = "", **fields: Any) -> Object:
    meta: Object = {"name": name}
    if namespace:
        meta["namespace"] = namespace
    return {"metadata": meta, "rules": list(rules), **fields}


def binding(to: Object, role_kind: str, role_name: str, namespace: str = "") -> Object:
    meta: Object = {"name": "b"}
    if namespace:
        meta["namespace"] = namespace
    return {"metadata": meta, "subjects": [to], "roleRef": {"kind": role_kind, "name": role_name}}


USER = {"kind": "User", "name": "alice"}
GROUP = {"kind": "Group", "name": "developers"}
ACCOUNT = {"kind": "ServiceAccount", "name": "robot", "namespace": "ns"}


def cluster_wide(*rules: Object, to: Object = USER) -> Policy:
    return Policy([role("r", *rules)], [], [binding(to, "ClusterRole", "r")], [])


@pytest.mark.parametrize(
    ("rules", "wanted", "allowed"),
    [
        ([rule()], Attributes("get", "", "pods", namespace="any", name="x"), True),
        ([rule()], Attributes("delete", "", "pods", namespace="any"), False),
        ([rule()], Attributes("get", "", "pods", "log", "any", "x"), False),
        ([rule(resources=["pods/log"])], Attributes("get", "", "pods", "log", "any", "x"), True),
        ([rule(resources=["pods/log"])], Attributes("get", "", "pods", "", "any", "x"), False),
        ([rule(resources=["*/log"])], Attributes("get", "", "pods", "log", "any", "x"), True),
        ([rule(resources=["*"])], Attributes("get", "", "pods", "log", "any", "x"), True),
        ([rule(verbs=["*"])], Attributes("deletecollection", "", "pods", namespace="n"), True),
        ([rule(apiGroups=["apps"])], Attributes("get", "", "pods", namespace="n"), False),
        ([rule(apiGroups=["*"])], Attributes("get", "apps", "pods", namespace="n"), True),
        ([rule(resourceNames=["x"])], Attributes("get", "", "pods", namespace="n", name="x"), True),
        ([rule(resourceNames=["x"])], Attributes("get", "", "pods", namespace="n", name="y"), False),
        ([rule(resourceNames=["x"])], Attributes("list", "", "pods", namespace="n"), False),
        ([{"nonResourceURLs": ["/api/*"], "verbs": ["get"]}], Attributes("get", path="/api/v1"), True),
        ([{"nonResourceURLs": ["/api"], "verbs": ["get"]}], Attributes("get", path="/api/v1"), False),
        ([rule(resources=["*"], verbs=["*"])], Attributes("get", path="/metrics"), False),
    ],
)
def test_one_rule_is_enough_and_no_rule_is_not(
    rules: list[Object], wanted: Attributes, allowed: bool
) -> None:
    assert cluster_wide(*rules).decide(ALICE, wanted).allowed is allowed


@pytest.mark.parametrize(
    ("subject", "user", "allowed"),
    [
        (USER, ALICE, True),
        (GROUP, ALICE, True),
        (ACCOUNT, ALICE, False),
        (ACCOUNT, ROBOT, True),
        ({"kind": "Group", "name": "system:serviceaccounts:ns"}, ROBOT, True),
        ({"kind": "Group", "name": "system:serviceaccounts:other"}, ROBOT, False),
        ({"kind": "Group", "name": "system:unauthenticated"}, ANONYMOUS, True),
    ],
)
def test_subjects(subject: Object, user: Identity, allowed: bool) -> None:
    decision = cluster_wide(rule(), to=subject).decide(user, Attributes("get", "", "pods"))
    assert decision.allowed is allowed
    assert ("RBAC: allowed by ClusterRoleBinding" in decision.reason) is allowed


def test_a_role_binding_grants_in_its_namespace_only() -> None:
    policy = Policy(
        [role("shared", rule())],
        [role("local", rule(resources=["secrets"]), namespace="a")],
        [],
        [binding(USER, "ClusterRole", "shared", "a"), binding(USER, "Role", "local", "a")],
    )
    for resource in ("pods", "secrets"):
        assert policy.decide(ALICE, Attributes("get", "", resource, namespace="a")).allowed
        assert not policy.decide(ALICE, Attributes("get", "", resource, namespace="b")).allowed
        assert not policy.decide(ALICE, Attributes("list", "", resource)).allowed
    assert len(policy.rules(ALICE, "a")) == 2
    assert policy.rules(ALICE, "b") == []


def test_aggregation_collects_by_label() -> None:
    part = role("part", rule())
    part["metadata"]["labels"] = {"into": "whole"}
    whole = role("whole", aggregationRule={"clusterRoleSelectors": [{"matchLabels": {"into": "whole"}}]})
    policy = Policy([part, whole], [], [binding(USER, "ClusterRole", "whole")], [])
    assert policy.decide(ALICE, Attributes("get", "", "pods")).allowed


def bootstrap_policy() -> Policy:
    found = list(bootstrap_objects())
    roles = [one for one in found if one["kind"] == "ClusterRole"]
    bindings = [one for one in found if one["kind"] == "ClusterRoleBinding"]
    return Policy(roles, [], bindings, [])


def test_a_new_cluster_lets_everybody_discover_and_nobody_but_masters_do_more() -> None:
    policy = bootstrap_policy()
    assert policy.decide(ADMIN, Attributes("delete", "x", "y", namespace="z")).allowed
    assert policy.decide(ROBOT, Attributes("get", path="/apis/apps/v1")).allowed
    assert policy.decide(
        ROBOT, Attributes("create", "authorization.k8s.io", "selfsubjectaccessreviews")
    ).allowed
    assert not policy.decide(ROBOT, Attributes("get", "", "secrets", namespace="ns")).allowed
    assert not policy.decide(ANONYMOUS, Attributes("get", path="/api")).allowed


def test_the_sentences_of_a_denial() -> None:
    wanted = Attributes("list", "apps", "statefulsets", namespace="ns")
    assert forbidden_message(ROBOT, wanted) == (
        'User "system:serviceaccount:ns:robot" cannot list resource "statefulsets" in API group "apps" '
        'in the namespace "ns"'
    )
    assert forbidden_message(ALICE, Attributes("get", "", "nodes", name="n")) == (
        'User "alice" cannot get resource "nodes" in API group "" at the cluster scope'
    )
    assert forbidden_message(ANONYMOUS, Attributes("get", path="/x")) == (
        'User "system:anonymous" cannot get path "/x"'
    )


def test_impersonation_needs_a_grant_for_each_part() -> None:
    found = list(attributes_for_impersonation("bob", ["g1", "g2"]))
    assert [(one.resource, one.name) for one in found] == [
        ("users", "bob"),
        ("groups", "g1"),
        ("groups", "g2"),
    ]
    [account] = attributes_for_impersonation("system:serviceaccount:ns:robot", [])
    assert (account.resource, account.namespace, account.name) == ("serviceaccounts", "ns", "robot")
