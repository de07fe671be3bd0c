"""How to test a controller: a server in virtual time, injected faults, and a seed that reproduces a run."""

import pytest
from expiry import CONFIG_MAP, TTL, setup

from informers.objects import Object, ObjectKey
from informers.testing.simulation import Simulation, simulate


def config_map(name: str, ttl: str) -> Object:
    metadata = {"namespace": "default", "name": name, "annotations": {TTL: ttl}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


def is_there(world: Simulation, name: str) -> bool:
    return world.server.find(CONFIG_MAP, ObjectKey("default", name)) is not None


def test_what_has_lived_long_enough_goes_and_nothing_else() -> None:
    async def play(world: Simulation) -> None:
        setup(manager := world.manager())
        async with world.running(manager):
            await world.sleep(3590)
            assert is_there(world, "hour")
            await world.sleep(20)
            assert not is_there(world, "hour")
            await world.sleep(86_400)
            assert is_there(world, "nonsense") and is_there(world, "no-number")

    nonsense = config_map("nonsense", "soon"), config_map("no-number", "nan")
    simulate(play, config_map("hour", "3600"), *nonsense)


@pytest.mark.parametrize("seed", range(10))
def test_whatever_server_and_network_do(seed: int) -> None:
    async def play(world: Simulation) -> None:
        setup(manager := world.manager())
        world.fault(verb="delete", cut="after", probability=0.5)  # the response is lost
        world.fault(verb="list", status=429, retry_after=3, times=2)
        world.fault(verb="list", stale=5, times=1)  # from a stale cache
        world.fault(spread=5.0, probability=0.3)  # requests overtake each other
        async with world.running(manager):
            for number in range(10):
                world.server.create(config_map(f"short-{number}", "60"))
                await world.sleep(world.rng.uniform(0, 20))
                if number == 5:
                    world.compact()  # watches that resume get 410
                    world.cut_watches()
            speak = world.silence("", "configmaps")
            await world.sleep(60)
            speak()
            world.server.faults.clear()
            await world.until(lambda: not any(is_there(world, f"short-{n}") for n in range(10)), within=600)

    simulate(play, seed=seed)
