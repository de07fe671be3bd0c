"""Bodies as Go clients encode them, recorded once (``protobuf.json``), read back."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from informers.apiserver.builtin.gotypes import shaped
from informers.apiserver.errors import StatusError
from informers.apiserver.protobuf import MAGIC, decode
from informers.objects import Object

RECORDED: dict[str, Object] = {
    one["object"]["kind"]: one for one in json.loads(Path(__file__).with_name("protobuf.json").read_text())
}


def body(kind: str) -> bytes:
    return base64.b64decode(RECORDED[kind]["body"])


@pytest.mark.parametrize(
    "kind", [kind for kind in RECORDED if kind not in ("SelfSubjectAccessReview", "Event")]
)
def test_a_body_says_what_its_json_says(kind: str) -> None:
    sent = RECORDED[kind]["object"]
    group = sent["apiVersion"].rpartition("/")[0]
    assert shaped(decode(body(kind)), group, kind) == shaped(sent, group, kind)


def test_zero_values_are_dropped_only_where_they_are_nothing() -> None:
    spec = decode(body("StatefulSet"))["spec"]
    pods = spec["template"]["spec"]
    # Zero and absent are different for these.
    assert spec["replicas"] == 0
    assert spec["updateStrategy"]["rollingUpdate"]["partition"] == 0
    assert spec["volumeClaimTemplates"][0]["spec"]["storageClassName"] == ""
    assert pods["automountServiceAccountToken"] is False
    assert pods["terminationGracePeriodSeconds"] == 0
    assert pods["containers"][0]["securityContext"]["allowPrivilegeEscalation"] is False
    # Go writes these whether anybody said so or not.
    assert not {"hostNetwork", "hostPID", "nodeName", "minReadySeconds"} & (pods.keys() | spec.keys())
    assert not {"stdin", "tty", "workingDir"} & pods["containers"][0].keys()
    assert pods["containers"][0]["ports"] == [{"name": "g", "containerPort": 50051}]


def test_what_go_embeds_is_flattened() -> None:
    pods = decode(body("StatefulSet"))["spec"]["template"]["spec"]
    assert pods["volumes"][0] == {"name": "v", "emptyDir": {}}
    assert pods["containers"][0]["readinessProbe"] == {"grpc": {"port": 50051}, "periodSeconds": 5}
    assert pods["containers"][0]["env"][2]["valueFrom"] == {"secretKeyRef": {"name": "sec", "key": "k"}}


def test_ports_by_number_and_by_name() -> None:
    ports = decode(body("Service"))["spec"]["ports"]
    assert [port["targetPort"] for port in ports] == ["g", 2]


def test_schemas_of_definitions() -> None:
    version = decode(body("CustomResourceDefinition"))["spec"]["versions"][0]
    properties = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    assert properties["o"]["additionalProperties"] is False
    assert properties["m"]["additionalProperties"] == {"type": "string"}
    assert properties["l"] == {
        "type": "array",
        "items": {"type": "string", "enum": ["a", "b"]},
        "x-kubernetes-list-type": "set",
    }
    assert properties["p"]["default"] == {"a": [1, None]}
    assert properties["q"]["x-kubernetes-validations"] == [{"rule": "self.a", "message": "m"}]


def test_delete_options() -> None:
    assert decode(body("DeleteOptions")) == RECORDED["DeleteOptions"]["object"]


def test_reviews() -> None:
    review = decode(body("SelfSubjectAccessReview"))
    attributes = review["spec"]["resourceAttributes"]
    assert {key: value for key, value in attributes.items() if value} == {
        "namespace": "n",
        "resource": "pods",
        "verb": "get",
    }


def envelope(api_version: str, kind: str, raw: bytes) -> bytes:
    """A body by hand: lengths are below 128 here, so they are one byte."""

    def field(number: int, data: bytes) -> bytes:
        return bytes([number << 3 | 2, len(data)]) + data

    meta = field(1, api_version.encode()) + field(2, kind.encode())
    return MAGIC + field(1, meta) + field(2, raw)


def test_an_unknown_kind_is_415() -> None:
    with pytest.raises(StatusError) as refusal:
        decode(envelope("e.com/v1", "Widget", b""))
    assert refusal.value.code == 415


@pytest.mark.parametrize("data", [b"", b"{}", MAGIC + b"\xff", envelope("v1", "Pod", b"\xff\xff")])
def test_garbage_is_400(data: bytes) -> None:
    with pytest.raises(StatusError) as refusal:
        decode(data)
    assert refusal.value.code == 400


@given(st.sampled_from(sorted(RECORDED)), st.data())
def test_a_damaged_body_is_refused_or_read_but_never_crashes(kind: str, data: st.DataObject) -> None:
    damaged = bytearray(body(kind))
    at = data.draw(st.integers(len(MAGIC), len(damaged) - 1))
    damaged[at] = data.draw(st.integers(0, 255))
    try:
        assert isinstance(decode(bytes(damaged)), dict)
    except StatusError as refusal:
        assert refusal.code in (400, 415)
