"""The finalizer of one controller: on before the first remote state, off when that is gone."""

from __future__ import annotations

from controllers.finalizing.finalizer import Finalizer
from controllers.finalizing.release import Release
from controllers.status import reasons as r
from etl_operator.api import PIPELINE
from informers.objects import Object, ObjectKey
from tests.controllers.store import NAMESPACE
from tests.controllers.world import World

KEY = ObjectKey(NAMESPACE, "p")
NAME = "etl.router/pipeline"
INVALID = {"source": ["no text"]}


def made(world: World) -> Finalizer:
    return Finalizer(world.context, PIPELINE, NAME, "m")


def pipeline(world: World, **metadata: object) -> Object:
    world.store.put(PIPELINE, "p", INVALID, **metadata)
    return world.store.of(PIPELINE, "p")


def warnings(world: World) -> int:
    return sum(reason == r.VALIDATION_FAILED for reason in world.events.reasons())


async def test_it_is_put_on_once_and_the_object_has_the_new_version() -> None:
    world = World()
    finalizer, obj = made(world), pipeline(world)
    world.store.informers[PIPELINE].fall_behind()
    held = await finalizer.hold(obj)
    assert held["metadata"] == world.store.of(PIPELINE, "p")["metadata"]
    assert held["metadata"]["finalizers"] == [NAME]
    seen = world.store.informers[PIPELINE].get(KEY)
    assert seen is not None
    assert finalizer.on(seen), "the answer is shown although the cache is behind"
    assert await finalizer.hold(held) is held
    assert [verb for verb, *_ in world.store.writes] == ["patch"]


async def test_of_a_spec_that_is_not_valid_it_warns_once_for_every_object() -> None:
    world = World()
    finalizer, obj = made(world), pipeline(world, finalizers=[NAME])
    for _ in range(3):
        finalizer.leaving(KEY, obj)
    assert warnings(world) == 1
    again = {**obj, "metadata": {**obj["metadata"], "uid": "another"}}
    finalizer.leaving(KEY, again)
    assert warnings(world) == 2, "an object of the same name is another object"
    finalizer.forget(KEY)
    finalizer.leaving(KEY, again)
    assert warnings(world) == 3, "nothing is kept of an object that is gone"


async def test_it_is_taken_off_with_a_word_and_forgotten() -> None:
    world = World()
    finalizer, obj = made(world), pipeline(world, finalizers=[NAME, "mine/too"])
    finalizer.leaving(KEY, obj)
    await finalizer.release(KEY, obj, Release(True, r.ORPHANED, "left behind"))
    assert world.store.of(PIPELINE, "p")["metadata"]["finalizers"] == ["mine/too"]
    assert world.events.reasons()[-1] == r.ORPHANED
    finalizer.leaving(KEY, obj)
    assert warnings(world) == 2
