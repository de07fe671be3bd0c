"""From changes to keys: predicates, owner mapping, urgency, and faults in any of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, cast

import pytest

from informers.cache.informer import Delta, Informer
from informers.controller import owner_mapper, predicates, reference_mapper
from informers.controller.sources import Source, urgency
from informers.objects import ObjectKey, Resource
from informers.queue import Priority, Work, WorkQueue
from informers.testing.clock import VirtualClock, run_virtual
from informers.views.view import View
from tests.informers.controller.objects import WIDGET, view, widget
from tests.informers.watch.running import informer_of
from tests.informers.watch.server import Server

PLAIN = view(widget())
BOX = Resource("example.com", "v1", "boxes", "Box")


def changed(status: Any = None, **metadata: Any) -> Delta:
    """The plain widget, changed; without arguments a resync."""
    after = widget(**{"resourceVersion": "2", **metadata})
    if status is not None:
        after["status"] = status
    return Delta(PLAIN, view(after))


class Told:
    """An informer that has what it is told, and tells its handlers."""

    resource = WIDGET

    def __init__(self) -> None:
        self.views: dict[ObjectKey, View] = {}
        self._handlers: list[Callable[[Delta], None]] = []

    def add_handler(self, handler: Callable[[Delta], None]) -> None:
        self._handlers.append(handler)
        for known in tuple(self.views.values()):
            handler(Delta(None, known, initial=True))

    def tell(self, delta: Delta) -> None:
        if delta.new is not None:
            self.views[delta.new.key] = delta.new
        elif delta.old is not None:
            self.views.pop(delta.old.key, None)
        for handler in self._handlers:
            handler(delta)


def queued(delta: Delta, **how: Any) -> list[Work]:
    """What one delta brings into a queue, most urgent first."""

    async def main() -> list[Work]:
        queue = WorkQueue(clock=VirtualClock(), rng=random.Random(0))
        informer = Told()
        source = Source(queue, cast(Informer, informer), how.get("predicate"), how.get("mapper"), print)
        source.start()
        informer.tell(delta)
        return list(iter(queue.get_nowait, None))

    return run_virtual(main())


ALWAYS = [
    Delta(None, PLAIN),
    Delta(None, PLAIN, initial=True),
    Delta(PLAIN, None),
    changed(generation=2),
    changed(deletionTimestamp="2027-01-15T08:00:01Z", finalizers=["x/y"]),
    changed(uid="another"),
]


@pytest.mark.parametrize("predicate", [predicates.spec_changed, predicates.ready_changed])
@pytest.mark.parametrize("delta", ALWAYS)
def test_existence_generation_and_deletion_pass_both_predicates(
    predicate: Callable[[Delta], bool], delta: Delta
) -> None:
    assert predicate(delta)


@pytest.mark.parametrize(
    "delta",
    [changed(labels={"a": "b"}), changed(annotations={"a": "b"}), changed(finalizers=["x/y"])],
)
def test_what_people_write_passes_spec_changed_only(delta: Delta) -> None:
    assert predicates.spec_changed(delta)
    assert not predicates.ready_changed(delta)


@pytest.mark.parametrize(
    "status",
    [
        {"conditions": [{"type": "Ready", "status": "True"}]},
        {"phase": "Running"},
        {"podIP": "10.0.0.1"},
    ],
)
def test_what_dependents_look_at_passes_ready_changed_only(status: Any) -> None:
    assert predicates.ready_changed(changed(status))
    assert not predicates.spec_changed(changed(status))


@pytest.mark.parametrize(
    "status", [None, {"observedGeneration": 7}, {"conditions": [{"type": "Other", "status": "True"}]}]
)
def test_other_status_writes_and_resyncs_pass_neither(status: Any) -> None:
    assert not predicates.spec_changed(changed(status))
    assert not predicates.ready_changed(changed(status))


def test_of_kinds_without_a_generation_every_new_version_passes_spec_changed() -> None:
    def config_map(version: str, data: str) -> View:
        obj = {**widget(resourceVersion=version), "data": {"x": data}}
        del obj["metadata"]["generation"]
        return view(obj)

    old = config_map("1", "1")
    assert predicates.spec_changed(Delta(old, config_map("2", "2")))
    assert not predicates.spec_changed(Delta(old, old))


def test_predicates_combine() -> None:
    labels, pods = changed(labels={"a": "b"}), changed({"podIP": "10.0.0.1"})
    either = predicates.any_of(predicates.spec_changed, predicates.ready_changed)
    both = predicates.all_of(predicates.spec_changed, predicates.ready_changed)
    assert [either(labels), either(pods), either(changed())] == [True, True, False]
    assert [both(labels), both(pods), both(changed(generation=2))] == [False, False, True]


@pytest.mark.parametrize(
    ("delta", "priority"),
    [
        (Delta(None, PLAIN, initial=True), Priority.INITIAL),
        (Delta(None, PLAIN), Priority.CHANGE),
        (Delta(PLAIN, None), Priority.DELETION),
        (changed(generation=2), Priority.CHANGE),
        (changed(annotations={"etl.router/force-delete": "true"}), Priority.CHANGE),
        (changed({"phase": "Running"}), Priority.EVENT),
        (changed(finalizers=["x/y"]), Priority.EVENT),
        (changed(deletionTimestamp="2027-01-15T08:00:01Z", finalizers=["x/y"]), Priority.DELETION),
    ],
)
def test_urgency(delta: Delta, priority: Priority) -> None:
    assert urgency(delta) == priority


def test_an_object_already_being_deleted_at_the_start_is_urgent_but_its_later_changes_are_not() -> None:
    deleting = view(widget(deletionTimestamp="2027-01-15T08:00:01Z", finalizers=["x/y"]))
    again = view(widget(deletionTimestamp="2027-01-15T08:00:01Z", finalizers=["x/y"], resourceVersion="9"))
    assert urgency(Delta(None, deleting, initial=True)) == Priority.DELETION
    # Otherwise each of its own status writes would cut the back-off of a failing deletion short.
    assert urgency(Delta(deleting, again)) == Priority.EVENT


def test_the_cause_says_what_happened() -> None:
    assert queued(Delta(None, PLAIN, initial=True))[0].causes == ("Widget listed",)
    assert queued(Delta(PLAIN, None))[0].causes == ("Widget gone",)
    assert queued(changed(generation=2))[0].causes == ("Widget changed",)


def owned_by(*owners: tuple[str, str, bool], resource_version: str = "2") -> View:
    references = [
        {"apiVersion": "example.com/v1", "kind": kind, "name": name, "uid": name, "controller": controller}
        for kind, name, controller in owners
    ]
    return view(widget(ownerReferences=references, resourceVersion=resource_version))


def test_the_owner_is_found_before_and_after_a_change() -> None:
    delta = Delta(owned_by(("Box", "old", True)), owned_by(("Box", "new", True), resource_version="3"))
    keys = {work.key for work in queued(delta, mapper=owner_mapper(BOX))}
    assert keys == {ObjectKey("default", "old"), ObjectKey("default", "new")}


def test_only_controllers_of_the_kind_count() -> None:
    delta = Delta(None, owned_by(("Box", "plain", False), ("Crate", "other", True), ("Box", "mine", True)))
    assert [work.key.name for work in queued(delta, mapper=owner_mapper(BOX))] == ["mine"]
    assert not queued(delta, mapper=owner_mapper(replace(BOX, group="other.example.com")))
    assert queued(delta, mapper=owner_mapper(replace(BOX, version="v2")))


def test_an_owner_of_the_cluster_has_no_namespace() -> None:
    delta = Delta(None, owned_by(("Box", "mine", True)))
    (work,) = queued(delta, mapper=owner_mapper(replace(BOX, namespaced=False)))
    assert work.key == ObjectKey("", "mine")


def test_references_are_found_by_index() -> None:
    class Referrers:
        """Two that refer to the widget, one of them twice, and one that does not."""

        def by_index(self, index: str, value: str) -> list[View]:
            filed = {f"{PLAIN.key}": ["a", "b"], "other": ["c"], "": []}
            assert index == "widget"
            return [view(widget(name)) for name in filed[value]]

    referrers = cast(Informer, Referrers())
    delta = Delta(None, PLAIN)
    keys = [work.key.name for work in queued(delta, mapper=reference_mapper(referrers, "widget"))]
    assert sorted(keys) == ["a", "b"]
    both = reference_mapper(referrers, "widget", lambda one: [str(one.key), "other", str(one.key)])
    assert sorted(work.key.name for work in queued(delta, mapper=both)) == ["a", "b", "c"]


def test_a_mapper_by_an_index_that_is_not_there_is_refused_at_once() -> None:
    async def main() -> None:
        informer = informer_of(Server(), indexes={"there": lambda _: []})
        reference_mapper(informer, "there")
        with pytest.raises(KeyError):
            reference_mapper(informer, "missing")

    run_virtual(main())


def test_mapped_keys_come_once_and_do_not_cut_a_back_off() -> None:
    def mapper(_: View) -> Iterable[ObjectKey]:
        return [ObjectKey("n", "a"), ObjectKey("n", "a")]

    (work,) = queued(changed(generation=2), mapper=mapper)
    assert (work.key, work.priority) == (ObjectKey("n", "a"), Priority.EVENT)
    (work,) = queued(Delta(None, PLAIN, initial=True), mapper=mapper)
    assert work.priority == Priority.INITIAL


def test_a_faulty_predicate_lets_pass_and_a_faulty_mapper_is_contained(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def faulty(_: Any) -> Any:
        raise KeyError("bug")

    assert queued(changed(), predicate=faulty)
    assert "predicate failed" in caplog.text
    assert not queued(changed(), mapper=faulty)
    assert "mapper failed" in caplog.text


def test_before_the_start_nothing_is_queued_and_the_start_queues_what_is_there() -> None:
    async def main() -> None:
        queue = WorkQueue(clock=VirtualClock(), rng=random.Random(0))
        informer = Told()
        source = Source(queue, cast(Informer, informer), None, None, print)
        for number in range(1000):
            came = view(widget(f"w{number}"))
            informer.tell(Delta(None, came))
            if number:
                informer.tell(Delta(came, None))
        statistics = queue.statistics()
        assert sum(statistics.ready.values()) + statistics.waiting == 0
        source.start()
        (work,) = iter(queue.get_nowait, None)
        assert (work.key.name, work.priority) == ("w0", Priority.INITIAL)

    run_virtual(main())
