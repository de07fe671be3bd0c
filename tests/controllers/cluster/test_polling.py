"""How often a cluster that is not Ready is looked at, on the whole runtime in virtual time."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, cast

import pytest
import yaml

import controllers
from controllers.cluster.reconciler import ClusterReconciler
from controllers.objects.kinds import POD, STATEFUL_SET
from controllers.wiring.settings import ControllerSettings
from etl_operator.api import CLUSTER
from etl_operator.api.crds import render_crds
from informers.objects import Object, ObjectKey, Result
from informers.testing.simulation import Simulation, simulate
from tests.controllers.routers import KeeperDouble, Routers

KEY = ObjectKey("default", "prod")
SETTINGS = ControllerSettings()


def cluster() -> Object:
    return {
        "apiVersion": CLUSTER.api_version,
        "kind": CLUSTER.kind,
        "metadata": {"name": KEY.name, "namespace": KEY.namespace},
        "spec": {"replicas": 3, "storage": {"size": "1Gi"}},
    }


def member(stateful_set: Object) -> Object:
    """The first pod of the cluster, as it is before it runs."""
    owner = {
        "apiVersion": STATEFUL_SET.api_version,
        "kind": STATEFUL_SET.kind,
        "name": KEY.name,
        "uid": stateful_set["metadata"]["uid"],
        "controller": True,
    }
    return {
        "apiVersion": POD.api_version,
        "kind": POD.kind,
        "metadata": {
            "name": f"{KEY.name}-0",
            "namespace": KEY.namespace,
            "labels": stateful_set["spec"]["template"]["metadata"]["labels"],
            "ownerReferences": [owner],
        },
        "spec": {"containers": [{"name": "router", "image": "etl-router:1"}]},
    }


def test_looks_grow_rare_while_nothing_changes_and_a_change_is_seen_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[float] = []
    reconcile = ClusterReconciler.reconcile

    async def play(world: Simulation) -> None:
        async def watched(self: ClusterReconciler, key: ObjectKey) -> Result:
            looks.append(world.clock.monotonic())
            return await reconcile(self, key)

        monkeypatch.setattr(ClusterReconciler, "reconcile", watched)
        routers, manager = Routers(), world.manager()
        controllers.setup(manager, SETTINGS, cast(Any, routers), cast(Any, KeeperDouble(routers)))
        async with world.running(manager):
            # Nobody makes pods of the StatefulSet: the cluster does not become Ready by itself.
            await world.create(cluster())
            await world.until(lambda: world.server.find(STATEFUL_SET, KEY))
            await world.sleep(600)
            still = list(looks)
            stateful_set = world.server.find(STATEFUL_SET, KEY)
            assert stateful_set is not None
            looks.clear()
            looks.append(world.clock.monotonic())
            await world.create(member(stateful_set))
            await world.sleep(5)
        pauses = [later - earlier for earlier, later in pairwise(still)]
        # The first passes follow each other as the children they create come back through the watches.
        settled = pauses[next(i for i, pause in enumerate(pauses) if pause > 0.5) :]
        assert settled[:9] == pytest.approx([SETTINGS.busy_interval] * 9)
        assert settled == pytest.approx(sorted(settled))
        assert settled[-5:] == pytest.approx([SETTINGS.idle_interval] * 5)
        woken = [later - earlier for earlier, later in pairwise(looks)]
        assert woken[0] < 0.1
        assert woken[-2:] == pytest.approx([SETTINGS.busy_interval] * 2)

    definitions = [yaml.safe_load(text) for text in render_crds().values()]
    simulate(play, *definitions)
