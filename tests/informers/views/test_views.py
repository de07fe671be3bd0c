"""What a view shows of an object."""

from __future__ import annotations

import gc
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from informers.cache.codec import ZstdCodec, train
from informers.cache.store import Store
from informers.cache.versions import order_of
from informers.objects import ObjectKey
from informers.views.shared import LARGEST, REMEMBERED, Shared, mapping
from informers.views.view import (
    _ANNOTATIONS,
    _FINALIZERS,
    _LABELS,
    _OWNERS,
    LAST_APPLIED,
    OwnerReference,
    View,
    view_of_bytes,
    view_of_object,
)

POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "web-0",
        "namespace": "shop",
        "uid": "u1",
        "resourceVersion": "42",
        "generation": 3,
        "labels": {"app": "web"},
        "annotations": {"note": "hi", LAST_APPLIED: json.dumps({"kind": "Pod", "a": 'quo"te\\'})},
        "finalizers": ["x/y"],
        "deletionTimestamp": "2027-01-15T08:00:00Z",
        "creationTimestamp": "2027-01-14T08:00:00Z",
        "ownerReferences": [
            {"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "node"},
            {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "uid": "sts", "controller": True},
        ],
        "managedFields": [{"manager": "kubectl"}],
    },
    "spec": {"containers": []},
}


@pytest.fixture(scope="module")
def codec() -> ZstdCodec:
    made = train(
        [json.dumps({"kind": "Pod", "number": number, "x": "y" * 500}).encode() for number in range(99)]
    )
    assert made is not None
    return made


def view(obj: dict[str, Any]) -> View:
    found = view_of_object(obj)
    assert found is not None
    return found


def test_the_header() -> None:
    pod = view(POD)
    assert pod.key == ObjectKey("shop", "web-0")
    assert (pod.uid, pod.resource_version, pod.generation) == ("u1", "42", 3)
    assert pod.labels == {"app": "web"}
    assert pod.annotations == {"note": "hi"}
    assert pod.finalizers == ("x/y",)
    assert pod.deleting
    assert pod.creation_timestamp == "2027-01-14T08:00:00Z"
    assert pod.owners == (
        OwnerReference("v1", "Node", "n", "node"),
        OwnerReference("apps/v1", "StatefulSet", "web", "sts", True),
    )
    assert pod.owner_uid == "sts"


def test_a_bare_object() -> None:
    bare = view({"metadata": {"name": "x", "labels": None, "namespace": None, "generation": None}})
    assert bare.key == ObjectKey("", "x")
    assert (bare.labels, bare.annotations, bare.finalizers, bare.owners) == ({}, {}, (), ())
    assert (bare.generation, bare.deleting, bare.owner_uid) == (0, False, None)


def test_what_is_dropped_and_what_is_kept() -> None:
    obj = view(POD).object()
    expected = json.loads(json.dumps(POD))
    del expected["metadata"]["managedFields"]
    del expected["metadata"]["annotations"][LAST_APPLIED]
    assert obj == expected


def test_every_reader_gets_an_object_of_its_own() -> None:
    pod = view(POD)
    pod.object()["spec"]["containers"].append("mine")
    assert pod.object()["spec"]["containers"] == []


def test_shared_empty_mappings_cannot_be_written_to() -> None:
    bare = view({"metadata": {"name": "x"}})
    with pytest.raises(TypeError):
        bare.labels["a"] = "b"  # type: ignore[index]


def test_the_garbage_collector_does_not_look_into_views() -> None:
    pod = view(POD)
    assert not gc.is_tracked(pod)
    assert not any(gc.is_tracked(owner) for owner in pod.owners)


def test_a_full_store_has_nothing_for_the_collector_to_look_at() -> None:
    def store_of(count: int) -> Store:
        store = Store()
        for number in range(count):
            meta = {"name": f"x-{number}", "annotations": {"number": str(number)}, "finalizers": ["f"]}
            store.put(view({"metadata": {**POD["metadata"], **meta}}))
        return store

    def tracked_by(count: int) -> int:
        gc.collect()
        before = len(gc.get_objects())
        store = store_of(count)
        gc.collect()
        assert len(store) == count
        return len(gc.get_objects()) - before

    # The tables of shared pieces are bounded, and full after the first.
    store_of(2 * REMEMBERED)
    assert abs(tracked_by(4 * REMEMBERED) - tracked_by(2 * REMEMBERED)) < 2 * REMEMBERED


def test_what_is_large_is_kept_in_the_body_only(codec: ZstdCodec) -> None:
    """Else a header would hold what no budget counts, and the tables what is long gone."""
    many = {f"key-{number}": str(number) for number in range(200)}
    owners = [{"uid": f"u{number}", "controller": number == 99} for number in range(200)]
    names = [f"finalizer-{number}" for number in range(200)]
    meta = {"labels": many, "annotations": many, "finalizers": names, "ownerReferences": owners}
    large = view({"metadata": {"name": "x", "uid": "u", **meta}})

    def read() -> list[Any]:
        return [large.labels, large.annotations, large.finalizers, large.owners, large.owner_uid]

    before = read()
    large.settle()
    assert read() == before
    large.replace_body(codec, codec.pack(large.body))
    assert large.packed and read() == before
    assert before[:3] == [many, many, tuple(names)] and before[4] == "u99"
    head = large.metadata
    kept = (head.labels, head.annotations, head.finalizers, head.owner_references)
    assert sum(len(bytes(piece)) for piece in kept) < 10
    assert not any(
        len(piece) > LARGEST for table in (_LABELS, _ANNOTATIONS, _FINALIZERS, _OWNERS) for piece in table
    )


def test_objects_that_say_the_same_share_it() -> None:
    one, other = view(POD), view({"metadata": {**POD["metadata"], "name": "other"}})
    said = one.key, dict(one.labels), one.annotations, one.finalizers, one.owners
    one.settle()
    other.settle()
    assert said == (one.key, one.labels, one.annotations, one.finalizers, one.owners)
    assert one.labels is other.labels and one.metadata.labels is other.metadata.labels
    assert one.namespace is other.namespace
    assert one.owners is other.owners
    with pytest.raises(TypeError):
        one.labels["a"] = "b"  # type: ignore[index]


@given(st.lists(st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=3), max_size=30))
def test_tables_forget_and_nobody_notices(pieces: list[dict[str, str]]) -> None:
    shared = Shared(dict[str, str], mapping)
    kept = [shared[json.dumps(piece).encode()] for piece in pieces]
    for number in range(REMEMBERED):
        assert shared[json.dumps({"number": str(number)}).encode()]
    assert [shared.value(content) for content in kept] == pieces


def test_what_every_object_says_differently_does_not_push_out_what_repeats() -> None:
    shared = Shared(dict[str, str], mapping)

    def repeated(name: str) -> bytes:
        return json.dumps({"name": name}).encode()

    kept = shared[repeated("a")]
    for number in range(4 * REMEMBERED):
        assert shared[json.dumps({"number": str(number)}).encode()]
    assert shared[repeated("a")] is kept
    # What repeats may change; then what no longer does has to go.
    assert shared[repeated("b")] is shared[repeated("b")]


@pytest.mark.parametrize(
    ("field", "attribute", "value"),
    [
        ("labels", "labels", {"a": 1}),
        ("annotations", "annotations", []),
        ("finalizers", "finalizers", "x"),
        ("ownerReferences", "owners", [1]),
    ],
)
def test_metadata_of_another_kind_are_refused_to_their_readers(
    field: str, attribute: str, value: Any
) -> None:
    strange = view({"metadata": {"name": "x", field: value}})
    if value:
        with pytest.raises(msgspec.ValidationError):
            getattr(strange, attribute)
    strange.settle()
    assert strange.object()["metadata"][field] == value


@pytest.mark.parametrize("value", ["[]", '"text"', "null"])
def test_annotations_of_another_kind_do_not_keep_managed_fields(value: str) -> None:
    # Spaced out, so that cutting will not do.
    spaced = f'{{"metadata":{{"name":"x","annotations":{value},"managedFields" : [{{}}]}}}}'
    found = view_of_bytes(spaced.encode())
    assert found is not None
    assert found.object() == {"metadata": {"name": "x", "annotations": json.loads(value)}}


@pytest.mark.parametrize("meta", [{"name": 1}, {"generation": "x"}, {"uid": []}])
def test_a_header_of_another_kind_is_refused_at_once(meta: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        view({"metadata": {"name": "x", **meta}})


def test_no_name_is_no_object() -> None:
    assert view_of_bytes(b'{"kind":"Table","metadata":{}}') is None


@pytest.mark.parametrize(
    ("older", "newer"),
    [("9", "10"), ("99", "100"), ("18446744073709551615", "18446744073709551616")],
)
def test_versions_compare_as_numbers_of_any_size(older: str, newer: str) -> None:
    first, second = order_of(older), order_of(newer)
    assert first is not None and second is not None and first < second


@pytest.mark.parametrize("opaque", ["", "abc", "01", "-1", "1.5", "१२", "1e3"])
def test_other_versions_are_opaque(opaque: str) -> None:
    assert order_of(opaque) is None


def test_a_view_is_known_by_identity_whatever_form_its_body_has() -> None:
    first, second = view_of_object(POD), view_of_object(POD)
    assert first is not None and second is not None
    known = {first: 1, second: 2}
    first.cool()
    assert known[first] == 1 and known[second] == 2
