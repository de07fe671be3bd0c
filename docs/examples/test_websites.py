"""A custom resource, its children, and a leader that loses its connection."""

from pathlib import Path

import pytest
import yaml
from websites import STATEFUL_SET, WEBSITE, setup

from informers.conditions import get_condition
from informers.leader import LeaseLost
from informers.objects import Object, ObjectKey
from informers.testing.simulation import Simulation, simulate

DEFINITION: Object = yaml.safe_load(Path(__file__).with_name("websites.yaml").read_text())
KEY = ObjectKey("default", "shop")


def website(replicas: int) -> Object:
    metadata = {"namespace": KEY.namespace, "name": KEY.name}
    spec = {"image": "web:1", "replicas": replicas}
    return {"apiVersion": WEBSITE.api_version, "kind": WEBSITE.kind, "metadata": metadata, "spec": spec}


def ready(world: Simulation) -> str | None:
    status = (world.server.find(WEBSITE, KEY) or {}).get("status", {})
    condition = get_condition(status.get("conditions", ()), "Ready")
    return None if condition is None else condition["status"]


def scaled(world: Simulation) -> int | None:
    found = world.server.find(STATEFUL_SET, KEY)
    return None if found is None else found["spec"]["replicas"]


def start(world: Simulation) -> None:
    """Does what the StatefulSet controller of a cluster does."""

    def started(obj: Object) -> Object:
        count = obj["spec"]["replicas"]
        return {**obj, "status": {"replicas": count, "readyReplicas": count}}

    world.server.edit(STATEFUL_SET, KEY, started, subresource="status")


def scale(world: Simulation, replicas: int) -> None:
    world.server.edit(WEBSITE, KEY, lambda obj: {**obj, "spec": {**obj["spec"], "replicas": replicas}})


@pytest.mark.parametrize("seed", range(5))
def test_a_website_comes_and_goes(seed: int) -> None:
    async def play(world: Simulation) -> None:
        setup(manager := world.manager())
        world.fault(verb="patch", cut="after", probability=0.3)
        world.fault(spread=1.0, probability=0.3)
        async with world.running(manager):
            await world.until(lambda: ready(world) == "False")
            start(world)
            await world.until(lambda: ready(world) == "True")
            scale(world, 3)
            await world.until(lambda: scaled(world) == 3 and ready(world) == "False")
            world.server.delete(WEBSITE, KEY)
            await world.until(lambda: scaled(world) is None)

    simulate(play, DEFINITION, website(1), seed=seed)


def test_another_leader_takes_over() -> None:
    async def play(world: Simulation) -> None:
        one, two = world.manager("one", elect=True), world.manager("two", elect=True)
        setup(one)
        setup(two)
        with pytest.raises(LeaseLost):  # ends the first one when its lease has expired
            async with world.running(one):
                await world.until(lambda: scaled(world) == 1)
                async with world.running(two):
                    world.fault(user="one", cut="before")
                    scale(world, 2)
                    await world.until(lambda: scaled(world) == 2)

    simulate(play, DEFINITION, website(1))
