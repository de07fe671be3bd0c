"""From bytes to inputs: whatever the chunking, the spacing and the extras."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from informers.objects import ObjectKey, Resource
from informers.views.view import LAST_APPLIED
from informers.watch.decoding import LineDecoder, decode_page
from informers.watch.events import Delete
from informers.watch.machine import Bookmark, Changes, Input, Refused

PODS = Resource("", "v1", "pods", "Pod")

SEPARATORS = st.sampled_from([(",", ":"), (", ", ": "), (" ,", " :  ")])
TEXT = st.text(max_size=20) | st.sampled_from(
    ['"managedFields":[]', '{"a":"\\"}', "\n", '","object":{', LAST_APPLIED, "\\", "é\u2028\U0001f600"]
)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["a", "managedFields", "name", "resourceVersion", LAST_APPLIED, "metadata"])
            | TEXT,
            inner,
        )
    ),
    max_leaves=8,
)


@st.composite
def objects(draw: st.DrawFn) -> dict[str, Any]:
    """Objects with everything that makes cutting hard."""
    meta: dict[str, Any] = {"name": draw(st.sampled_from("abc")), "namespace": "n", "resourceVersion": "7"}
    if draw(st.booleans()):
        meta["managedFields"] = draw(st.none() | st.lists(JSON_VALUES, max_size=2))
    if draw(st.booleans()):
        names = st.sampled_from([LAST_APPLIED, "x", "managedFields"])
        meta["annotations"] = draw(st.none() | st.dictionaries(names, TEXT))
    obj = {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": dict(sorted(meta.items())),
        "spec": draw(JSON_VALUES),
    }
    if draw(st.booleans()):
        # As servers write it; else as nobody does.
        return obj
    obj["metadata"] = dict(draw(st.permutations(list(meta.items()))))
    return dict(draw(st.permutations(list(obj.items()))))


def pruned(obj: dict[str, Any]) -> dict[str, Any]:
    """The slow and obvious way."""
    meta = {name: value for name, value in obj["metadata"].items() if name != "managedFields"}
    if meta.get("annotations"):
        meta["annotations"] = {n: v for n, v in meta["annotations"].items() if n != LAST_APPLIED}
    return {**obj, "metadata": meta}


def decoded(inputs: list[Input]) -> list[tuple[bool, dict[str, Any]]]:
    return [
        (isinstance(change, Delete), change.view.object())
        for one in inputs
        if isinstance(one, Changes)
        for change in one.items
    ]


@given(
    st.data(), st.lists(st.tuples(st.sampled_from(["ADDED", "MODIFIED", "DELETED"]), objects()), max_size=4)
)
def test_any_chunking_and_spacing_gives_the_same_objects(
    data: st.DataObject, events: list[tuple[str, dict[str, Any]]]
) -> None:
    stream = b""
    for kind, obj in events:
        separators = data.draw(SEPARATORS)
        line = {"type": kind, "object": obj}
        if data.draw(st.booleans()):
            line = {"object": obj, "type": kind}
        stream += (
            json.dumps(line, separators=separators, ensure_ascii=data.draw(st.booleans())).encode() + b"\n"
        )
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    decoder = LineDecoder(PODS)
    inputs: list[Input] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        inputs += decoder.feed(stream[start:end])
    assert decoded(inputs) == [(kind == "DELETED", pruned(obj)) for kind, obj in events]


@given(st.lists(objects(), max_size=4), SEPARATORS)
def test_pages_give_what_they_hold(items: list[dict[str, Any]], separators: tuple[str, str]) -> None:
    bare = [{k: v for k, v in item.items() if k not in ("apiVersion", "kind")} for item in items]
    body = {"metadata": {"resourceVersion": "9", "continue": "more"}, "items": bare}
    page = decode_page(json.dumps(body, separators=separators).encode(), PODS)
    assert [view.object() for view in page.views] == [pruned(item) for item in items]
    assert (page.version, page.continue_token) == ("9", "more")


DEEP = b"[" * 50_000 + b"]" * 50_000


@settings(max_examples=30)
@given(st.lists(objects(), max_size=4), SEPARATORS, st.data())
def test_an_item_nested_beyond_reading_costs_only_itself(
    items: list[dict[str, Any]], separators: tuple[str, str], data: st.DataObject
) -> None:
    encoded = [json.dumps(item, separators=separators).encode() for item in items]
    where = data.draw(st.integers(0, len(items)))
    encoded.insert(where, b'{"metadata":{"name":"deep"},"spec":' + DEEP + b"}")
    body = b'{"metadata":{"resourceVersion":"9"},"items":[' + b" , ".join(encoded) + b"]}"
    page = decode_page(body, PODS)
    assert [view.object() for view in page.views] == [pruned(item) for item in items]
    assert page.version == "9"


@pytest.mark.parametrize(
    "name", [LAST_APPLIED.replace("/", "\\/"), LAST_APPLIED.replace("l", "\\u006c"), LAST_APPLIED]
)
@pytest.mark.parametrize("colon", [":", " : "])
def test_a_last_applied_annotation_elsewhere_stays(name: str, colon: str) -> None:
    """A template has annotations of its own, and they are not ours to drop."""
    own = f'{{"{name}"{colon}"x","k":"v"}}'
    meta = f'{{"name":"a","annotations":{own}}}'
    spec = f'{{"template":{{"annotations":{{"{LAST_APPLIED}":"precious"}}}}}}'
    (changes,) = LineDecoder(PODS).feed(
        f'{{"type":"ADDED","object":{{"metadata":{meta},"spec":{spec}}}}}\n'.encode()
    )
    assert isinstance(changes, Changes)
    obj = changes.items[0].view.object()
    assert obj["metadata"] == {"name": "a", "annotations": {"k": "v"}}
    assert obj["spec"] == {"template": {"annotations": {LAST_APPLIED: "precious"}}}


def line(kind: str, obj: Any) -> bytes:
    return json.dumps({"type": kind, "object": obj}, separators=(",", ":")).encode() + b"\n"


def test_changes_around_a_bookmark_keep_their_order() -> None:
    meta = {"name": "a", "namespace": "n", "resourceVersion": "1"}
    mark = {"metadata": {"resourceVersion": "5", "annotations": {"k8s.io/initial-events-end": "true"}}}
    stream = (
        line("ADDED", {"metadata": meta}) * 2 + line("BOOKMARK", mark) + line("DELETED", {"metadata": meta})
    )
    first, bookmark, last = LineDecoder(PODS).feed(stream)
    assert isinstance(first, Changes) and len(first.items) == 2
    assert bookmark == Bookmark("5", initial_end=True)
    assert isinstance(last, Changes) and isinstance(last.items[0], Delete)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"code": 410, "reason": "Expired"}, Refused(410, version_unavailable=True)),
        ({"code": 500, "message": "etcd"}, Refused(500)),
        ({}, Refused(500)),
        ({"reason": "Expired"}, Refused(500, version_unavailable=True)),
        ({"code": "410", "details": {"causes": 5}}, Refused(500)),
        (["no status"], Refused(500)),
        (
            {"code": 504, "details": {"causes": [{"reason": "ResourceVersionTooLarge"}]}},
            Refused(504, version_unavailable=True),
        ),
    ],
)
def test_errors_on_the_stream(status: Any, expected: Refused) -> None:
    assert LineDecoder(PODS).feed(line("ERROR", status)) == [expected]


def test_what_cannot_be_an_object_is_skipped_and_the_rest_is_not(caplog: pytest.LogCaptureFixture) -> None:
    good = {"metadata": {"name": "a", "namespace": "n"}}
    stream = (
        line("ADDED", {"kind": "Table", "metadata": {}})
        + line("MODIFIED", {"metadata": {"name": "b", "generation": "x"}})
        + line("PERHAPS", good)
        + line("ADDED", good)
    )
    (changes,) = LineDecoder(PODS).feed(stream)
    assert isinstance(changes, Changes)
    assert [one.view.key for one in changes.items] == [ObjectKey("n", "a")]
    assert len(caplog.records) == 3


@pytest.mark.parametrize("spaced", [False, True])
def test_an_object_nested_beyond_reading_costs_only_itself(
    spaced: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever may create objects with free-form fields could otherwise stop every watcher."""
    meta = b'{"metadata":{"name":"a"},"spec":' + DEEP + b"}"
    start = b'{"type": "ADDED", "object":' if spaced else b'{"type":"ADDED","object":'
    stream = start + meta + b"}\n" + line("ADDED", {"metadata": {"name": "b"}})
    (changes,) = LineDecoder(PODS).feed(stream)
    assert isinstance(changes, Changes)
    assert [one.view.key.name for one in changes.items] == ["b"]
    assert "skipped" in caplog.text


@pytest.mark.parametrize("spaced", [False, True])
def test_an_object_nested_beyond_reading_ends_like_any_other(spaced: bool) -> None:
    """Else whoever makes it so before it is deleted leaves a ghost."""
    fields = b'[{"fieldsV1":' + b'{"f:a":' * 50_000 + b"{}" + b"}" * 50_000 + b"}]"
    meta = b'{"labels":{"a":"b"},"managedFields":' + fields + b',"name":"a","resourceVersion":"7","uid":"u"}'
    start = b'{"type": "DELETED", "object":' if spaced else b'{"type":"DELETED","object":'
    content = start + b'{"kind":"Pod","metadata":' + meta + b',"spec":{"x":' + DEEP + b"}}}\n"
    (changes,) = LineDecoder(PODS).feed(content)
    assert isinstance(changes, Changes)
    (end,) = changes.items
    assert isinstance(end, Delete)
    assert (end.view.name, end.view.uid, end.view.resource_version) == ("a", "u", "7")
    assert end.view.labels == {"a": "b"}
    with pytest.raises(msgspec.DecodeError):
        LineDecoder(PODS).feed(start + b"{}]}\n")
    assert LineDecoder(PODS).feed(start + b"[" * 50_000 + b"\n") == []


NOT_UTF8 = [
    b'{"kind":"Pod","apiVersion":"v1","metadata":{"name":"\xff","resourceVersion":"1"}}',
    b'{"metadata":{"name":"a","uid":"\xff"}}',
    b'{"kind":"\xff","metadata":{"name":"a"}}',
    b'{"metadata":{"name":"a","annotations":{"x":"\\n\xff"}}}',
]


@pytest.mark.parametrize("content", NOT_UTF8)
def test_text_in_no_encoding_costs_only_its_object(content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    good = b'{"metadata":{"name":"b"}}'
    stream = b'{"type":"ADDED","object":' + content + b"}\n" + line("ADDED", {"metadata": {"name": "b"}})
    (changes,) = LineDecoder(PODS).feed(stream)
    assert isinstance(changes, Changes)
    page = decode_page(b'{"items":[' + content + b"," + good + b"]}", PODS)
    assert [view.name for view in page.views] == [one.view.name for one in changes.items] == ["b"]
    assert caplog.text.count("skipped") == 2


@pytest.mark.parametrize(
    "status",
    [b'{"message":"\xff"}', b'{"message":[' + b"[" * 50_000 + b"]" * 50_000 + b"]}", b'{"code":1e999}'],
    ids=["not UTF-8", "too deep", "number out of range"],
)
@pytest.mark.parametrize("spaced", [False, True])
def test_an_error_that_cannot_be_read_ends_the_stream_all_the_same(status: bytes, spaced: bool) -> None:
    start = b'{"type": "ERROR", "object":' if spaced else b'{"type":"ERROR","object":'
    assert LineDecoder(PODS).feed(start + status + b"}\n") == [Refused(500)]


@pytest.mark.parametrize("kind", [b'"\xff"', b'"\\u0041DDED\xff"', b"5", b"null"])
def test_a_line_of_no_known_type_costs_only_itself(kind: bytes, caplog: pytest.LogCaptureFixture) -> None:
    stream = b'{"type":' + kind + b',"object":{"metadata":{"name":"a"}}}\n'
    (changes,) = LineDecoder(PODS).feed(stream + line("ADDED", {"metadata": {"name": "b"}}))
    assert isinstance(changes, Changes)
    assert [one.view.key.name for one in changes.items] == ["b"]
    assert caplog.text.count("skipped") == 1


@pytest.mark.parametrize("damaged", [b'{"metadata"}', b'{"metadata":{"name":"\xff"}', b"\xff"])
def test_a_line_that_is_no_json_ends_the_stream(damaged: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        LineDecoder(PODS).feed(b'{"type":"ADDED","object":' + damaged + b"}\n")


@pytest.mark.parametrize(
    "body",
    [b"<html>", b"{}", b'{"kind":"Status"}', b'{"items":[],"metadata":{"continue":"\xff"}}', b"[" * 300_000],
)
def test_a_page_that_is_no_list_is_an_error(body: bytes) -> None:
    """Taken for an empty list, it would mean that everything has been deleted."""
    with pytest.raises(msgspec.DecodeError):
        decode_page(body, PODS)


def test_a_line_of_ten_megabytes_in_small_chunks() -> None:
    obj = {"metadata": {"name": "big", "namespace": "n"}, "data": "x" * 10_000_000}
    content = line("ADDED", obj)
    decoder = LineDecoder(PODS)
    inputs: list[Input] = []
    for start in range(0, len(content), 16_384):
        inputs += decoder.feed(content[start : start + 16_384])
    (changes,) = inputs
    assert isinstance(changes, Changes)
    assert len(changes.items[0].view.body) > 10_000_000


def test_objects_do_not_keep_the_page_they_came_in() -> None:
    items = [{"metadata": {"name": f"n{i}"}, "x": "y" * 100} for i in range(100)]
    body = json.dumps({"metadata": {}, "items": items}).encode()
    page = decode_page(body, PODS)
    assert all(type(view.body) is bytes and len(view.body) < 250 for view in page.views)
