"""What the operator asks for at its start is what the roles of ``config/`` give it."""

from __future__ import annotations

import random

import pytest

import controllers
from controllers.wiring.settings import ControllerSettings
from etl_operator.router.client import RouterClients
from etl_operator.router.registry import RegistryKeeper
from etl_operator.sandbox.manifests import load_manifests
from informers.access import Right, rights
from informers.apiserver.core import ApiServer
from informers.client import Client
from informers.clock import SystemClock
from informers.leader import LeaderElector
from informers.manager import Manager
from informers.metrics import Metrics
from informers.testing.transport import ApiServerTransport
from tests.install.manifests import CONFIG, only, rules

HOME = "etl-operator-system"


async def asked(*namespaces: str) -> list[Right]:
    """The questions of an operator wired as ``etl-operator run`` does it."""
    client = Client(ApiServerTransport(ApiServer(SystemClock())))
    elector = LeaderElector(client, HOME, "etl-operator-leader", "me", clock=SystemClock())
    manager = Manager(
        client,
        clock=SystemClock(),
        metrics=Metrics(process=False),
        leader=elector,
        name="etl-operator",
        rng=random.Random(0),
    )
    clients = RouterClients()
    try:
        settings = ControllerSettings(namespaces=namespaces)
        controllers.setup(manager, settings, clients, RegistryKeeper(clients))
        return rights(manager.accesses())
    finally:
        await clients.close()


def grant(right: Right) -> tuple[str, str, str, str]:
    resource = right.resource.plural + (f"/{right.subresource}" if right.subresource else "")
    return right.resource.group, resource, right.verb, right.name


@pytest.mark.parametrize("namespaces", [(), ("team-a", "team-b")], ids=["all", "two"])
async def test_every_right_that_is_asked_for_is_granted(namespaces: tuple[str, ...]) -> None:
    objects = load_manifests(CONFIG / "rbac")
    everywhere = rules(only(objects, "ClusterRole", "etl-operator-manager-role"))
    at_home = rules(only(objects, "Role", "etl-operator-leader-election-role"))
    questions = await asked(*namespaces)
    assert questions
    for right in questions:
        home = right.namespace == HOME
        assert grant(right) in (at_home if home else everywhere), str(right)
        assert home or right.namespace in (namespaces or ("",)), str(right)
    told = {right.namespace for right in questions if right.resource.plural == "events"}
    assert told == ({HOME, *namespaces} if namespaces else {""})


async def test_every_right_that_is_granted_is_asked_for() -> None:
    granted = rules(only(load_manifests(CONFIG / "rbac"), "ClusterRole", "etl-operator-manager-role"))
    wanted = {grant(right) for right in await asked()}
    # Looked up where that is allowed (events as well: nothing but an explanation depends on them), read from
    # the cache only, and asked for by admission on some servers.
    unasked = {one for one in granted - wanted if one[2] != "get"}
    assert unasked == {
        ("etl.router", "etlrouterclusters/finalizers", "update", ""),
        ("", "events", "list", ""),
    }
