"""Negotiation, tables, paths, ages, tokens and certificates, without a server."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl_operator.sandbox.http.duration import age, human
from etl_operator.sandbox.http.files import read_or_create, write_private
from etl_operator.sandbox.http.jsonpath import PathError, find
from etl_operator.sandbox.http.negotiation import Shape, Wanted, decode_body, encode, negotiate
from etl_operator.sandbox.http.tables import TableMaker, include_object
from etl_operator.sandbox.http.tls import authority
from etl_operator.sandbox.http.tokens import Tokens
from informers.apiserver.errors import StatusError
from informers.objects import Object, Resource

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", Wanted()),
        ("*/*", Wanted()),
        ("application/json", Wanted()),
        ("application/yaml", Wanted(media_type="application/yaml")),
        (f"{TABLE},application/json", Wanted(Shape.TABLE)),
        ("application/vnd.kubernetes.protobuf, application/json", Wanted()),
        ("application/json;as=Table;v=v9;g=meta.k8s.io, */*", Wanted()),
        ("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", Wanted(Shape.PARTIAL_LIST)),
        ("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", Wanted(Shape.AGGREGATED_V2)),
    ],
)
def test_the_first_shape_that_can_be_made_wins(accept: str, wanted: Wanted) -> None:
    assert negotiate(accept) == wanted


@pytest.mark.parametrize("accept", ["text/html", "application/cbor", "application/json;as=Nothing"])
def test_what_cannot_be_made_is_refused(accept: str) -> None:
    with pytest.raises(StatusError) as refused:
        negotiate(accept)
    assert refused.value.code == 406


def test_yaml_dates_stay_text_and_broken_bodies_are_400() -> None:
    assert decode_body(b"a: 2027-01-01", "application/yaml") == {"a": "2027-01-01"}
    for raw, kind in (
        (b"{", "application/json"),
        (b"a: [", "application/yaml"),
        (b"\xff", "application/json"),
    ):
        with pytest.raises(StatusError) as refused:
            decode_body(raw, kind)
        assert refused.value.code == 400


JSON_VALUES: Any = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)  # Larger ones become floats in YAML, as in a real server.
    | st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(alphabet="abc", min_size=1), inner),
    max_leaves=10,
)


@given(JSON_VALUES, st.sampled_from(["application/json", "application/yaml"]))
def test_what_is_encoded_decodes_to_itself(value: Any, kind: str) -> None:
    assert decode_body(encode(value, kind), kind) == value


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".spec.replicas", [3]),
        ("spec.replicas", [3]),
        ("{.spec.replicas}", [3]),
        (".spec.none.deeper", []),
        (".items[*].n", [1, 2]),
        (".items[0].n", [1]),
        (".items[-1].n", [2]),
        ('.items[?(@.kind=="b")].n', [2]),
        (".metadata.annotations.a\\.b/c", ["dotted"]),
        (".metadata.annotations['a.b/c']", ["dotted"]),
    ],
)
def test_json_paths(path: str, found: list[Any]) -> None:
    value = {
        "spec": {"replicas": 3},
        "items": [{"n": 1, "kind": "a"}, {"n": 2, "kind": "b"}],
        "metadata": {"annotations": {"a.b/c": "dotted"}},
    }
    assert find(path, value) == found


@pytest.mark.parametrize("path", [".a[", ".a[?(@.b>1)]", ".a..b"])
def test_unsupported_paths_are_refused(path: str) -> None:
    with pytest.raises(PathError):
        find(path, {"a": {}})


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"), (119, "119s"), (120, "2m"), (125, "2m5s"), (599, "9m59s"), (600, "10m"), (3 * 3600, "3h"),
        (3 * 3600 + 60, "3h1m"), (47 * 3600, "47h"), (50 * 3600, "2d2h"), (9 * 86400, "9d"),
        (3 * 365 * 86400, "3y"), (9 * 365 * 86400 + 5, "9y"), (-5, "<invalid>"),
    ],
)  # fmt: skip
def test_ages(seconds: int, text: str) -> None:
    assert human(seconds) == text


def test_ages_of_timestamps() -> None:
    assert age("2027-01-01T00:00:00Z", 1_798_761_605.0) == "5s"
    assert (age(None, 0), age("nonsense", 0)) == ("<unknown>", "<invalid>")


POD: Object = {
    "metadata": {"name": "p", "creationTimestamp": "2027-01-01T00:00:00Z"},
    "spec": {"containers": [{"name": "a"}, {"name": "b"}], "nodeName": "n"},
    "status": {
        "phase": "Running",
        "podIP": "127.1.0.1",
        "containerStatuses": [
            {"ready": True, "restartCount": 1, "state": {"running": {}}},
            {"ready": False, "restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}}},
        ],
    },
}


def cells(group: str, plural: str, obj: Object, columns: Any = ()) -> dict[str, Any]:
    resource = Resource(group, "v1", plural, "Thing")
    table = TableMaker(resource, columns, "Metadata").table([obj], {}, 1_798_761_605.0)
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    names = [column["name"] for column in table["columnDefinitions"]]
    return dict(zip(names, table["rows"][0]["cells"], strict=True))


def test_a_pods_row_says_what_is_wrong() -> None:
    row = cells("", "pods", POD)
    assert (row["Ready"], row["Status"], row["Restarts"], row["Age"]) == (
        "1/2",
        "CrashLoopBackOff",
        "3",
        "5s",
    )
    gone = {**POD, "metadata": {**POD["metadata"], "deletionTimestamp": "2027-01-01T00:00:00Z"}}
    assert cells("", "pods", gone)["Status"] == "Terminating"


def test_custom_columns_come_from_the_definition() -> None:
    columns = [
        {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
        {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"},
        {"name": "Missing", "type": "string", "jsonPath": ".spec.none"},
        {"name": "Born", "type": "date", "jsonPath": ".metadata.creationTimestamp", "priority": 1},
    ]
    obj = {
        "metadata": POD["metadata"],
        "spec": {"replicas": 2},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }
    row = cells("x", "ys", obj, columns)
    assert row == {"Name": "p", "Ready": "True", "Replicas": 2, "Missing": None, "Born": "5s"}


def test_events_and_definitions_tell_their_story() -> None:
    event = {
        "metadata": {"name": "e"},
        "reportingController": "kubelet",
        "reportingInstance": "node1",
        "eventTime": "2027-01-01T00:00:00.000000Z",
        "regarding": {"kind": "Pod", "name": "p", "fieldPath": "spec.containers{main}"},
        "series": {"count": 3, "lastObservedTime": "2027-01-01T00:00:03.000000Z"},
        "type": "Normal",
        "reason": "Started",
        "note": "hello",
    }
    row = cells("events.k8s.io", "events", event)
    told = ["2s", "Normal", "Started", "pod/p", "spec.containers{main}", "kubelet, node1", "hello"]
    assert list(row.values()) == [*told, "5s", 3, "e"]
    definition = {
        "metadata": {"name": "ys.x", "creationTimestamp": "2027-01-01T00:00:00Z"},
        "spec": {
            "scope": "Namespaced",
            "group": "x",
            "names": {"kind": "Y", "shortNames": ["y", "yy"]},
            "versions": [{"name": "v1", "storage": True}, {"name": "v1beta1", "storage": False}],
        },
        "status": {"conditions": [{"type": "Established", "status": "True"}]},
    }
    row = cells("apiextensions.k8s.io", "customresourcedefinitions", definition)
    assert (row["Versions"], row["ShortNames"], row["Established"]) == ("v1(storage),v1beta1", "y,yy", True)


def test_rows_carry_what_was_asked_for() -> None:
    whole = {"apiVersion": "v1", "kind": "Pod", **POD}
    for include, expected in (("None", None), ("Object", whole)):
        [row] = TableMaker(Resource("", "v1", "pods", "Pod"), (), include).table([POD], {}, 0.0)["rows"]
        assert row.get("object") == expected
    with pytest.raises(StatusError):
        include_object("Everything")


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def test_tokens_end_with_their_time_their_account_and_their_key(tmp_path: Path) -> None:
    clock, accounts = Clock(), {("ns", "robot"): "uid-1"}
    tokens = Tokens(tmp_path, lambda namespace, name: accounts.get((namespace, name)), clock)
    token = tokens.issue("ns", "robot", "uid-1", seconds=600).token
    found = tokens.identify(token)
    assert found is not None and found.name == "system:serviceaccount:ns:robot"
    assert "system:serviceaccounts:ns" in found.groups
    assert tokens.identify(token, ["another-audience"]) is None
    assert tokens.identify(token[:-2] + ("AA" if token[-2:] != "AA" else "BB")) is None
    assert tokens.identify("é") is None
    again = Tokens(tmp_path, lambda namespace, name: accounts.get((namespace, name)), clock)
    assert again.identify(token) == found
    assert again.identify(tokens.admin) is not None
    assert Tokens(None, lambda *_: "uid-1", clock).identify(token) is None
    accounts["ns", "robot"] = "uid-2"
    assert tokens.identify(token) is None
    accounts["ns", "robot"] = "uid-1"
    clock.now += 600
    assert tokens.identify(token) is None


def test_the_authority_is_kept_and_private(tmp_path: Path) -> None:
    made = authority(tmp_path)
    assert authority(tmp_path).pem == made.pem
    assert authority(None).pem != made.pem
    assert (tmp_path / "ca.key").stat().st_mode & 0o077 == 0
    assert isinstance(made.server_context(), ssl.SSLContext)


def test_private_files_are_whole_and_private(tmp_path: Path) -> None:
    file = tmp_path / "sub" / "secret"
    assert read_or_create(file, b"one") == b"one"
    assert read_or_create(file, b"two") == b"one"
    write_private(file, b"three")
    assert file.read_bytes() == b"three"
    assert file.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in file.parent.iterdir()] == ["secret"]
