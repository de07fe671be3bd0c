"""``metadata.managedFields``: reading, writing, and keeping it short."""

from __future__ import annotations

import pytest

from informers.apiserver.fields import Manager, track
from informers.apiserver.fields.managed import FOLDED, MAX_UPDATERS, Entry, capped, read, written
from informers.apiserver.fields.paths import from_v1, readable, to_v1
from informers.objects import Object


def entry(name: str, second: int, *fields: str, operation: str = "Update", version: str = "v1") -> Entry:
    manager = Manager(name, operation, version)  # type: ignore[arg-type]
    return Entry(manager, frozenset((f"f:{one}",) for one in fields), f"2026-01-01T00:00:{second:02}Z")


def test_only_so_many_updaters_are_remembered() -> None:
    many = {
        one.manager.identity: one for one in (entry(f"m{i}", i, f"x{i}") for i in range(MAX_UPDATERS + 3))
    }
    short = capped(many)
    assert len(short) == MAX_UPDATERS
    folded = short[Manager(FOLDED, "Update", "v1")]
    # The oldest were folded; nothing that was owned is lost.
    assert folded.fields == {("f:x0",), ("f:x1",), ("f:x2",), ("f:x3",)}
    assert folded.time == "2026-01-01T00:00:03Z"
    everything = frozenset().union(*(one.fields for one in short.values()))
    assert everything == frozenset().union(*(one.fields for one in many.values()))


def test_appliers_do_not_count() -> None:
    many = [entry(f"a{i}", 0, "x", operation="Apply") for i in range(20)]
    found = {one.manager.identity: one for one in many}
    assert capped(found) == found


def test_updates_of_other_versions_are_folded_apart() -> None:
    old = [entry(f"o{i}", i, f"o{i}", version="v1") for i in range(6)]
    new = [entry(f"n{i}", i, f"n{i}", version="v2") for i in range(6)]
    short = capped({one.manager.identity: one for one in (*old, *new)})
    assert len(short) <= MAX_UPDATERS
    versions = {identity.api_version for identity in short if identity.name == FOLDED}
    assert versions <= {"v1", "v2"}
    assert versions


def test_an_eleventh_updater_is_folded_on_the_way_in() -> None:
    live: Object = {"apiVersion": "v1", "kind": "T", "metadata": {"name": "t"}, "data": {}}
    for number in range(MAX_UPDATERS + 1):
        new = {**live, "data": {**live["data"], f"k{number}": "1"}}
        manager = Manager(f"m{number}", "Update", "v1")
        live = track(live, new, None, manager, now=f"2026-01-01T00:00:{number:02}Z")
    names = [one["manager"] for one in live["metadata"]["managedFields"]]
    assert len(names) == MAX_UPDATERS
    assert FOLDED in names
    assert "m10" in names


def test_entries_are_ordered_and_empty_ones_left_out() -> None:
    entries = [
        entry("b", 2, "x"),
        entry("a", 2, "y"),
        entry("c", 1, "z"),
        entry("d", 9, "w", operation="Apply"),
        entry("e", 0),
    ]
    names = [one["manager"] for one in written({one.manager.identity: one for one in entries})]
    assert names == ["d", "c", "a", "b"]


@pytest.mark.parametrize(
    "broken",
    [
        [{"operation": "Odd", "fieldsType": "FieldsV1"}],
        [{"operation": "Apply", "fieldsType": "FieldsV2"}],
        ["text"],
    ],
)
def test_entries_that_make_no_sense_are_refused_as_a_whole(broken: list[object]) -> None:
    assert read(broken) is None


def test_dots_stand_only_beside_children() -> None:
    tree: Object = {"f:spec": {".": {}, "f:a": {}, 'k:{"name":"x"}': {".": {}, "f:v": {}}}, "f:data": {}}
    assert to_v1(from_v1(tree)) == tree
    assert from_v1({"f:a": {".": {}}}) == from_v1({"f:a": {}})


def test_paths_are_readable() -> None:
    path = ("f:spec", "f:ports", 'k:{"port":80,"protocol":"TCP"}', "f:name")
    assert readable(path) == '.spec.ports[port=80,protocol="TCP"].name'
    assert readable(("f:finalizers", 'v:"a/b"')) == '.finalizers[="a/b"]'
    assert readable(("f:list", "i:3")) == ".list[3]"
