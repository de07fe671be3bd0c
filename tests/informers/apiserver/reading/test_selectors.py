from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from informers.apiserver.errors import StatusError
from informers.apiserver.reading.selectors import (
    field_selector,
    label_selector_matches,
    parse_field_selector,
    parse_label_selector,
)
from informers.objects import Object, Resource

POD = Resource("", "v1", "pods", "Pod")
EVENT = Resource("", "v1", "events", "Event")
NEW_EVENT = Resource("events.k8s.io", "v1", "events", "Event")
CONFIG = Resource("", "v1", "configmaps", "ConfigMap")
WIDGET = Resource("example.com", "v1", "widgets", "Widget")


@pytest.mark.parametrize(
    ("selector", "labels", "selected"),
    [
        ("", {}, True),
        (" ", {"a": "b"}, True),
        ("a=b", {"a": "b"}, True),
        ("a==b", {"a": "b"}, True),
        ("a = b", {"a": "b"}, True),
        ("a=b", {"a": "c"}, False),
        ("a=b", {}, False),
        ("a=", {"a": ""}, True),
        ("a=,c", {"a": "", "c": "x"}, True),
        ("a!=b", {}, True),
        ("a!=b", {"a": "b"}, False),
        ("a!=", {"a": "b"}, True),
        ("a", {"a": ""}, True),
        ("a", {}, False),
        ("!a", {}, True),
        ("! a", {"a": "x"}, False),
        ("a in (b,c)", {"a": "c"}, True),
        ("a in (b, c)", {"a": "d"}, False),
        ("a in (b,)", {"a": ""}, True),
        ("a in (,b)", {"a": ""}, True),
        ("a in ()", {"a": ""}, True),
        ("a in ()", {"a": "b"}, False),
        ("a notin (b,c)", {}, True),
        ("a notin (b,c)", {"a": "b"}, False),
        ("in in (in,notin)", {"in": "notin"}, True),
        ("a>1", {"a": "2"}, True),
        ("a>1", {"a": "1"}, False),
        ("a<10", {"a": "9"}, True),
        ("a<10", {"a": "x"}, False),
        ("a=b,c!=d,e", {"a": "b", "e": "1"}, True),
        ("a=b,c!=d,e", {"a": "b", "c": "d", "e": "1"}, False),
        ("example.com/a=b", {"example.com/a": "b"}, True),
    ],
)
def test_labels(selector: str, labels: dict[str, str], selected: bool) -> None:
    assert parse_label_selector(selector)(labels) is selected


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        ("a=b=c", "found '=', expected: ',' or 'end of string'"),
        ("=b", "found '=', expected: !, identifier, or 'end of string'"),
        (",a", "found ',', expected: !, identifier, or 'end of string'"),
        ("a=b,", "found '', expected: identifier after ','"),
        ("a=b,,c", "found ',', expected: identifier after ','"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        ("a in (b", "unable to parse requirement: found '', expected: ',', or identifier"),
        ("a in (b c)", "unable to parse requirement: found 'c', expected: ',' or ')'"),
        ("!", "unable to parse requirement: found '', expected: identifier"),
        (
            "a=b_",
            'unable to parse requirement: values[0][a]: Invalid value: "b_": a valid label must be an empty '
            "string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
            "alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation "
            "is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
        ),
        (
            "a>x",
            'unable to parse requirement: values[0]: Invalid value: "x": '
            "for 'Gt', 'Lt' operators, the value must be an integer",
        ),
    ],
)
def test_malformed_label_selectors(selector: str, message: str) -> None:
    with pytest.raises(StatusError) as refusal:
        parse_label_selector(selector)
    assert (refusal.value.code, refusal.value.reason) == (400, "BadRequest")
    assert refusal.value.message == message


@pytest.mark.parametrize("operator", ["=", "==", "!=", " in ", " notin ", ">"])
def test_keys_and_values_are_checked(operator: str) -> None:
    with pytest.raises(StatusError, match='unable to parse requirement: <nil>: Invalid value: "a/b/c"'):
        parse_label_selector(f"a/b/c{operator}(1)")


NAMES = st.from_regex(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,8}[A-Za-z0-9])?", fullmatch=True)


@given(st.dictionaries(NAMES, NAMES, max_size=4), NAMES, st.lists(NAMES, min_size=1, max_size=3))
def test_in_and_notin_are_complements(labels: dict[str, str], key: str, values: list[str]) -> None:
    inside = parse_label_selector(f"{key} in ({','.join(values)})")
    outside = parse_label_selector(f"{key} notin ({', '.join(values)})")
    assert inside(labels) is not outside(labels)
    assert inside(labels) is (labels.get(key) in values)


@given(st.dictionaries(NAMES, NAMES, max_size=4))
def test_labels_select_themselves(labels: dict[str, str]) -> None:
    assert parse_label_selector(",".join(f"{key}={value}" for key, value in labels.items()))(labels)
    assert label_selector_matches({"matchLabels": labels}, labels)


@pytest.mark.parametrize(
    ("selector", "labels", "selected"),
    [
        (None, {}, False),
        ({}, {"a": "b"}, True),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {"a": ""}, True),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, {"a": ""}, False),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["b"]}]}, {}, True),
        (
            {
                "matchLabels": {"a": "b"},
                "matchExpressions": [{"key": "c", "operator": "In", "values": ["d"]}],
            },
            {"a": "b", "c": "e"},
            False,
        ),
    ],
)
def test_selectors_of_specs(selector: Object | None, labels: dict[str, str], selected: bool) -> None:
    assert label_selector_matches(selector, labels) is selected


BOUND: Object = {
    "metadata": {"name": "p", "namespace": "n"},
    "spec": {"nodeName": "node-1", "restartPolicy": "Always"},
    "status": {"phase": "Running", "podIP": "10.0.0.1"},
}
OF_POD: Object = {"involvedObject": {"kind": "Pod", "name": "p"}, "reason": "Started", "type": "Normal"}
AS_NEW: Object = {"regarding": {"kind": "Pod", "name": "p"}, "reportingController": "kubelet"}


@pytest.mark.parametrize(
    ("resource", "selector", "obj", "selected"),
    [
        (POD, "metadata.name=p,metadata.namespace=n", BOUND, True),
        (POD, "metadata.name!=p", BOUND, False),
        (POD, "spec.nodeName=node-1,status.phase==Running", BOUND, True),
        (POD, "spec.host=node-1", BOUND, True),
        (POD, "spec.nodeName=", {"metadata": {"name": "p"}, "spec": {}}, True),
        (POD, "status.phase!=Succeeded,status.phase!=Failed", BOUND, True),
        (POD, "spec.hostNetwork=false", BOUND, True),
        (EVENT, "involvedObject.kind=Pod,involvedObject.name=p", OF_POD, True),
        (EVENT, "involvedObject.kind=Pod", AS_NEW, True),
        (NEW_EVENT, "regarding.kind=Pod", OF_POD, True),
        (NEW_EVENT, "reportingController=kubelet", AS_NEW, True),
        (EVENT, "source=kubelet", AS_NEW, True),
        (EVENT, "source=a", {"source": {"component": "a"}, "reportingComponent": "b"}, True),
        (EVENT, "type=Warning", OF_POD, False),
        (Resource("", "v1", "secrets", "Secret"), "type=Opaque", {"type": "Opaque"}, True),
        (
            Resource("", "v1", "namespaces", "Namespace", False),
            "status.phase=Active",
            {"status": {"phase": "Active"}},
            True,
        ),
        (Resource("batch", "v1", "jobs", "Job"), "status.successful=0", {}, True),
        (CONFIG, r"metadata.name=a\,b", {"metadata": {"name": "a,b"}}, True),
    ],
)
def test_fields(resource: Resource, selector: str, obj: Object, selected: bool) -> None:
    assert field_selector(selector, resource).selects(obj) is selected


def test_fields_of_a_custom_resource() -> None:
    selector = field_selector("spec.size=3,spec.on=true", WIDGET, ["spec.size", "spec.on"])
    assert selector.selects({"spec": {"size": 3, "on": True}})
    assert not selector.selects({"spec": {"size": 3}})


@pytest.mark.parametrize(
    ("resource", "selector", "selectable", "message"),
    [
        (POD, "spec.foo=1", None, "field label not supported: spec.foo"),
        (
            CONFIG,
            "data.a=1",
            None,
            '"data.a" is not a known field selector: only "metadata.name", "metadata.namespace"',
        ),
        (WIDGET, "spec.size=1", [], "field label not supported: spec.size"),
        (
            Resource("example.com", "v1", "hosts", "Host", False),
            "metadata.namespace=a",
            [],
            "field label not supported: metadata.namespace",
        ),
        (POD, "metadata.name", None, "invalid selector: 'metadata.name'; can't understand 'metadata.name'"),
        (POD, "metadata.name=a=b", None, "invalid field selector: unescaped character in value: 61"),
        (POD, r"metadata.name=a\b", None, r"invalid field selector: invalid escape sequence: \b"),
    ],
)
def test_unusable_field_selectors(
    resource: Resource, selector: str, selectable: list[str] | None, message: str
) -> None:
    with pytest.raises(StatusError) as refusal:
        field_selector(selector, resource, selectable)
    assert (refusal.value.code, refusal.value.message) == (400, message)


def test_a_selector_knows_the_one_name_it_can_match() -> None:
    assert field_selector("metadata.name=a", POD).name() == "a"
    assert field_selector("metadata.name!=a", POD).name() is None
    assert not field_selector("", POD)


@given(st.text(st.sampled_from("a,=\\!"), max_size=6))
def test_an_escaped_value_comes_back(value: str) -> None:
    escaped = value.replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=")
    (term,) = parse_field_selector(f"metadata.name={escaped}")
    assert (term.field, term.value, term.equal) == ("metadata.name", value, True)
