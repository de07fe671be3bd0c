"""Whatever request arrives, it is answered completely, and never with a fault of the server's own.

The requests are made of what clients send (methods, paths, parameters, headers, bodies in JSON, YAML and
protobuf), put together at random and damaged, and go as bytes over a connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import http.client
import json
import os
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from etl_operator.sandbox.http.server import EmbeddedServer
from informers.apiserver.protobuf import MAGIC
from informers.objects import Object
from tests.hanging import HANGS
from tests.sandbox_http.serving import browsing, serving
from tests.sandbox_http.test_bodies import DEFINITION

_DIGITS = "9" * 5000
"""More than Python turns into a number."""


@dataclass
class Running:
    """A server in a thread of its own."""

    port: int
    token: str
    authority: str

    def connection(self) -> ssl.SSLSocket:
        context = ssl.create_default_context(cadata=self.authority)
        raw = socket.create_connection(("127.0.0.1", self.port), HANGS)
        return context.wrap_socket(raw, server_hostname="127.0.0.1")


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    ready, ending = threading.Event(), asyncio.Event()
    found: list[tuple[Running, asyncio.AbstractEventLoop]] = []

    async def main() -> None:
        async with serving() as server:
            token = server.admin_kubeconfig()["users"][0]["user"]["token"]
            port = int(server.url.rpartition(":")[2])
            found.append((Running(port, token, server.ca_pem.decode()), asyncio.get_running_loop()))
            try:
                await _fill(server)
            finally:
                ready.set()
            await ending.wait()

    thread = threading.Thread(target=functools.partial(asyncio.run, main()), name="server")
    thread.start()
    assert ready.wait(HANGS), "no server"
    server, loop = found[0]
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(ending.set)
        thread.join(HANGS)


_NOT_AT_FIRST = ("/pods/", "gadgets", "certificatesigningrequests")
"""Kinds that are not served yet, or objects that need others or are refused."""


async def _fill(server: EmbeddedServer) -> None:
    async with browsing(server) as session:
        for path, body in (
            ("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", DEFINITION),
            *((path, obj) for path, obj in _OBJECTS.items() if not any(one in path for one in _NOT_AT_FIRST)),
        ):
            async with session.post(path, json=body) as response:
                assert response.status in (201, 409), await response.text()


_META: Object = {"name": "x", "resourceVersion": "", "labels": {"a": "b"}, "annotations": {"a": "b"}}
_CONTAINER = {
    "name": "c",
    "image": "i",
    "resources": {"limits": {"cpu": "1"}},
    "ports": [{"containerPort": 1}],
}
_POD = {"containers": [_CONTAINER], "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}]}
_SELECTOR = {"matchLabels": {"a": "b"}}
_TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": _POD}
_RULES = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
_SCALED = {"scaleTargetRef": {"kind": "Deployment", "name": "x", "apiVersion": "apps/v1"}, "maxReplicas": 2}


def _object(kind: str, version: str = "v1", **fields: Any) -> Object:
    return {"apiVersion": version, "kind": kind, "metadata": _META, **fields}


_IN = "/namespaces/default"
_OBJECTS: dict[str, Object] = {
    f"/api/v1{_IN}/configmaps": _object("ConfigMap", data={"a": "b"}, binaryData={"b": "YQ=="}),
    f"/api/v1{_IN}/secrets": _object("Secret", data={"a": "YQ=="}, type="Opaque"),
    f"/api/v1{_IN}/pods": _object("Pod", spec=_POD),
    f"/api/v1{_IN}/services": _object("Service", spec={"ports": [{"port": 80, "targetPort": "http"}]}),
    f"/api/v1{_IN}/events": _object("Event", involvedObject={"namespace": "default"}, count=1),
    f"/api/v1{_IN}/resourcequotas": _object("ResourceQuota", spec={"hard": {"pods": "1"}}),
    f"/api/v1{_IN}/limitranges": _object(
        "LimitRange", spec={"limits": [{"type": "Container", "max": {"cpu": "1"}}]}
    ),
    f"/api/v1{_IN}/persistentvolumeclaims": _object(
        "PersistentVolumeClaim",
        spec={"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    ),
    f"/apis/apps/v1{_IN}/deployments": _object(
        "Deployment",
        "apps/v1",
        spec={
            "replicas": 1,
            "selector": _SELECTOR,
            "template": _TEMPLATE,
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "1%"},
            },
        },
    ),
    f"/apis/apps/v1{_IN}/statefulsets": _object(
        "StatefulSet", "apps/v1", spec={"selector": _SELECTOR, "template": _TEMPLATE, "serviceName": "x"}
    ),
    f"/apis/apps/v1{_IN}/daemonsets": _object(
        "DaemonSet",
        "apps/v1",
        spec={
            "selector": _SELECTOR,
            "template": _TEMPLATE,
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "10%"}},
        },
    ),
    f"/apis/policy/v1{_IN}/poddisruptionbudgets": _object(
        "PodDisruptionBudget", "policy/v1", spec={"minAvailable": "50%", "selector": _SELECTOR}
    ),
    f"/apis/batch/v1{_IN}/cronjobs": _object(
        "CronJob",
        "batch/v1",
        spec={
            "schedule": "1 * * * *",
            "jobTemplate": {"spec": {"template": {"spec": {**_POD, "restartPolicy": "Never"}}}},
        },
    ),
    f"/apis/autoscaling/v2{_IN}/horizontalpodautoscalers": _object(
        "HorizontalPodAutoscaler", "autoscaling/v2", spec=_SCALED
    ),
    f"/apis/networking.k8s.io/v1{_IN}/networkpolicies": _object(
        "NetworkPolicy",
        "networking.k8s.io/v1",
        spec={"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]},
    ),
    f"/apis/rbac.authorization.k8s.io/v1{_IN}/roles": _object(
        "Role", "rbac.authorization.k8s.io/v1", rules=_RULES
    ),
    f"/apis/coordination.k8s.io/v1{_IN}/leases": _object(
        "Lease",
        "coordination.k8s.io/v1",
        spec={"leaseDurationSeconds": 1, "renewTime": "2026-01-01T00:00:00.000000Z"},
    ),
    f"/apis/networking.k8s.io/v1{_IN}/ingresses": _object(
        "Ingress",
        "networking.k8s.io/v1",
        spec={
            "defaultBackend": {"service": {"name": "x", "port": {"number": 1}}},
            "rules": [{"host": "a.b"}],
        },
    ),
    f"/apis/batch/v1{_IN}/jobs": _object(
        "Job", "batch/v1", spec={"template": {"spec": {**_POD, "restartPolicy": "Never"}}, "completions": 1}
    ),
    "/apis/certificates.k8s.io/v1/certificatesigningrequests": _object(
        "CertificateSigningRequest",
        "certificates.k8s.io/v1",
        spec={"request": "YQ==", "signerName": "a.io/b", "usages": ["client auth"], "expirationSeconds": 600},
    ),
    "/apis/scheduling.k8s.io/v1/priorityclasses": _object("PriorityClass", "scheduling.k8s.io/v1", value=1),
    "/apis/storage.k8s.io/v1/storageclasses": _object(
        "StorageClass", "storage.k8s.io/v1", provisioner="a.io/b", parameters={"a": "b"}
    ),
    "/api/v1/persistentvolumes": _object(
        "PersistentVolume",
        spec={"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/a"}},
    ),
    "/api/v1/namespaces": _object("Namespace", spec={"finalizers": ["kubernetes"]}),
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions": DEFINITION,
    f"/apis/bodies.test/v1{_IN}/gadgets": _object("Gadget", "bodies.test/v1", spec={"a": [1, {"b": None}]}),
    "/apis/authentication.k8s.io/v1/tokenreviews": _object(
        "TokenReview", "authentication.k8s.io/v1", spec={"token": "a"}
    ),
    "/apis/authorization.k8s.io/v1/subjectaccessreviews": _object(
        "SubjectAccessReview",
        "authorization.k8s.io/v1",
        spec={"user": "u", "resourceAttributes": {"verb": "get", "resource": "pods"}},
    ),
    f"/api/v1{_IN}/serviceaccounts/default/token": _object(
        "TokenRequest", "authentication.k8s.io/v1", spec={"expirationSeconds": 600, "audiences": ["a"]}
    ),
    f"/api/v1{_IN}/pods/x/eviction": _object(
        "Eviction", "policy/v1", deleteOptions={"gracePeriodSeconds": 0}
    ),
    f"/api/v1{_IN}/pods/x/binding": _object("Binding", target={"kind": "Node", "name": "n"}),
}

_ODD: list[Any] = [
    *(None, True, 0, -1, 1.5, 1e308, 2**63, -(2**63), 10**30, "", "a", "A b", [], {}, [None], {"": 1}, [[]]),
    *(_DIGITS, f"{_DIGITS}%", f"{_DIGITS}Mi", f"1e{_DIGITS}", f"0.{_DIGITS}", "1e99999999", "-5%", "٣%", "٣"),
    *("\ud800", "\x00", "\U0010ffff", "2026-13-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-99-99"),
    *("::", "*/0 * * * *", "1.2.3.4/99", "0/0", "=", "a=b,c", "%", "NaN", "Infinity"),
    *(float("inf"), float("nan")),
]  # fmt: skip
_way = st.lists(st.integers(0, 7), min_size=1, max_size=9)
_text = st.one_of(st.sampled_from([str(one) for one in _ODD]), st.text(max_size=8))


def _broken(obj: Object, way: list[int], value: Any) -> Object:
    """A copy with something else at a place the numbers lead to."""
    result: Object = yaml.safe_load(json.dumps(obj))
    inner: Any = result
    for step, number in enumerate(way):
        keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
        key = keys[number % len(keys)]
        below = inner[key]
        if step == len(way) - 1 or not isinstance(below, dict | list) or not below:
            inner[key] = value
            break
        inner = below
    return result


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


@st.composite
def _message(draw: st.DrawFn, depth: int = 0) -> bytes:
    """Bytes that are mostly in protobuf's form, field numbers and all."""
    out = b""
    for _ in range(draw(st.integers(0, 3))):
        number = draw(st.integers(1, 30))
        match draw(st.integers(0, 5)):
            case 0:
                out += _varint(number << 3) + _varint(draw(st.integers(0, 2**64 - 1)))
            case 1:
                out += _varint(number << 3 | 1) + struct.pack("<d", draw(st.floats()))
            case 2:
                out += _field(number, draw(_leaf_bytes))
            case 3:
                out += draw(st.binary(max_size=6))
            case _ if depth < 6:
                out += _field(number, draw(_message(depth + 1)))
    return out


_leaf_bytes = st.one_of(
    st.binary(max_size=6),
    st.text(max_size=6).map(str.encode),
    st.sampled_from(
        [
            b"[" * 100_000,
            b'{"a":' * 5000 + b"1" + b"}" * 5000,
            b'"\\ud800"',
            b"NaN",
            b"-Infinity",
            b"1e400",
            b"9" * 5000,
            b"\xff",
            b'{"f:metadata":{"f:labels":{".":{}}}}',
        ]
    ),
)


@st.composite
def _protobuf(draw: st.DrawFn, obj: Object) -> bytes:
    meta = _field(1, str(obj["apiVersion"]).encode()) + _field(2, str(obj["kind"]).encode())
    raw = draw(st.one_of(_message(), st.builds(_as_message, st.just(obj["kind"]), _filled)))
    return MAGIC + _field(1, meta) + _field(2, raw)


_filled = st.tuples(
    _leaf_bytes, _leaf_bytes, st.integers(-(2**63), 2**63 - 1), st.integers(-(2**31), 2**31 - 1)
)


def _as_message(kind: str, filled: tuple[bytes, bytes, int, int]) -> bytes:
    """Metadata whose managed fields, times and names are odd, as every kind has them."""
    text, data, seconds, nanos = filled
    moment = _varint(1 << 3) + _varint(seconds % 2**64) + _varint(2 << 3) + _varint(nanos % 2**64)
    managed = _field(1, text) + _field(2, b"Update") + _field(4, moment) + _field(7, _field(1, data))
    return _field(1, _field(1, b"x") + _field(8, moment) + _field(17, managed) + _field(11, _field(1, text)))


_MEDIA = (
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/json-patch+json",
    "application/apply-patch+yaml",
    "text/plain",
    "application/json; charset=latin-1",
    ";",
    "\xff",
)
_ACCEPT = (
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
    *("", "*/*", "application/yaml", "application/json;as=Table;g=meta.k8s.io;v=v1", "text/html", ",;=,"),
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
    "application/json;as=APIGroupDiscoveryList;g=apidiscovery.k8s.io;v=v2",
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
    "application/vnd.kubernetes.protobuf",
)
_PARAMETERS = (
    *("labelSelector", "fieldSelector", "limit", "continue", "resourceVersion", "resourceVersionMatch"),
    *("timeoutSeconds", "timeout", "watch", "allowWatchBookmarks", "sendInitialEvents", "pretty", "dryRun"),
    *("fieldManager", "fieldValidation", "force", "propagationPolicy", "gracePeriodSeconds", "includeObject"),
    *("tailLines", "sinceSeconds", "sinceTime", "follow", "container", "limitBytes", "timestamps", "verbose"),
    *("previous", "orphanDependents", "hash", "exclude", "since"),
)
_VALUES = (
    "true",
    "false",
    "1",
    "0",
    "-1",
    "All",
    "a=b",
    "a in (b,c)",
    "metadata.name=x",
    "Strict",
    "1s",
    "Exact",
)
_PLACES = (
    *(path for path in _OBJECTS),
    *(
        "/",
        "/api",
        "/apis",
        "/api/v1",
        "/apis/apps",
        "/apis/apps/v1",
        "/version",
        "/healthz",
        "/livez",
        "/readyz",
    ),
    *(
        "/openapi/v2",
        "/openapi/v3",
        "/openapi/v3/apis/apps/v1",
        "/metrics",
        "/logs",
        "/api/v1/nodes",
        "/sandbox",
    ),
    *(
        "/api/v1/namespaces",
        "/api/v1/namespaces/default",
        "/api/v1/namespaces/default/finalize",
        "/api/v1/pods",
    ),
    "/api/v1/watch/pods",
)
_SAID_WITH_500 = (
    b"etcdserver: request is too large",
    b"resourceVersion should not be set",
    b"strconv.ParseUint",
    b"typed patch object",
)
"""Refusals to which a real server gives this code."""
_BELOW = (
    "",
    "",
    "",
    "/x",
    "/x",
    "/x/status",
    "/x/scale",
    "/x/log",
    "/x/exec",
    "/x/proxy/a",
    "/%00",
    "/..",
    "/%2f",
)
_HEADERS = (
    *("Impersonate-User", "Impersonate-Group", "Impersonate-Uid", "Impersonate-Extra-a", "User-Agent"),
    *(
        "If-None-Match",
        "Content-Encoding",
        "Accept-Encoding",
        "Expect",
        "Range",
        "Authorization",
        "X-Remote-User",
    ),
    *("Connection", "Upgrade", "Origin", "Cookie", "Content-Type", "Accept", "Audit-Id", "Host"),
)
_HEADER_VALUES = (
    *(
        "gzip",
        "deflate",
        "identity",
        "100-continue",
        "bytes=0-1",
        "Bearer x",
        "Basic YTpi",
        "*",
        'W/"a"',
        "websocket",
    ),
    *(
        "system:admin",
        "system:serviceaccount:default:default",
        "close",
        "upgrade",
        "system:masters",
        "a\xffb",
        "\x80",
    ),
    *("", "a" * 5000, "é", "curl/8", "a/b c", '"'),
)


@dataclass(repr=False)
class Sent:
    """A request: its head's lines and its body."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    def __repr__(self) -> str:
        # hypothesis refuses to show what is long.
        shown = f"{self.method!r}, {self.target!r}, {self.headers!r}, {self.body[:2000]!r}"
        return f"Sent({shown[:4000]})"

    def encoded(self, token: str) -> bytes:
        lines = [f"{self.method} {self.target} HTTP/1.1", "Host: a"]
        if not any(name == "Authorization" for name, _ in self.headers):
            lines.append(f"Authorization: Bearer {token}")
        lines += [f"{name}: {value}" for name, value in self.headers]
        lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body


@st.composite
def _requests(draw: st.DrawFn) -> Sent:
    method = draw(
        st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "FOO"])
    )
    path = draw(st.sampled_from(_PLACES))
    obj = _OBJECTS.get(path) or _object("ConfigMap")
    target = path + draw(st.sampled_from(_BELOW))
    query = draw(
        st.lists(
            st.tuples(st.sampled_from(_PARAMETERS), st.one_of(st.sampled_from(_VALUES), _text)), max_size=3
        )
    )
    if query:
        target += "?" + "&".join(f"{name}={_quoted(value)}" for name, value in query)
    media = draw(st.sampled_from(_MEDIA))
    headers = [("Content-Type", media), ("Accept", draw(st.sampled_from(_ACCEPT)))]
    headers += draw(
        st.lists(st.tuples(st.sampled_from(_HEADERS), st.sampled_from(_HEADER_VALUES)), max_size=2)
    )
    return Sent(method, target, headers, draw(_bodies(obj, media)))


def _quoted(text: str) -> str:
    return "".join(f"%{one:02x}" for one in text.encode("utf-8", "surrogatepass"))


@st.composite
def _bodies(draw: st.DrawFn, obj: Object, media: str) -> bytes:
    if "protobuf" in media:
        return draw(_protobuf(obj))
    value: Any = _broken(obj, draw(_way), draw(st.sampled_from(_ODD)))
    if "json-patch" in media:
        paths = st.sampled_from(
            ["", "/", "/data", "/data/a", "/metadata/labels", "/spec/x/-", "/metadata/name"]
        )
        one = st.fixed_dictionaries(
            {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]), "path": paths},
            optional={"from": paths, "value": st.sampled_from(_ODD)},
        )
        value = draw(st.lists(one, max_size=4))
    if "yaml" in media and draw(st.booleans()):
        try:
            return yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "surrogatepass")
        except yaml.YAMLError:
            return b"{"
    encoded = json.dumps(value).encode()
    match draw(st.integers(0, 9)):
        case 0:
            at = draw(st.integers(0, len(encoded)))
            return encoded[:at] + draw(st.binary(max_size=4)) + encoded[at:]
        case 1:
            return encoded[: draw(st.integers(0, len(encoded)))]
        case 2:
            return draw(_leaf_bytes)
    return encoded


def _answer(connection: ssl.SSLSocket, sent: bytes, method: str) -> tuple[int, bytes, bool]:
    """The code and the body of an answer, and whether the connection stays open for another."""
    connection.sendall(sent)
    answer = http.client.HTTPResponse(connection, method=method)
    answer.begin()
    if answer.chunked:
        # A stream: it ends when its reader goes.
        return answer.status, b"", False
    body = answer.read()
    return answer.status, body, not answer.will_close


def _check(running: Running, request: Sent) -> None:
    try:
        _check_answer(running, request)
    except (ConnectionError, ssl.SSLEOFError):
        # Who is refused for the head alone can lose the answer, since the server does not wait for the body.
        if not request.body:
            raise
        _check_answer(running, replace(request, body=b""))


def _check_answer(running: Running, request: Sent) -> None:
    with contextlib.closing(running.connection()) as connection:
        code, body, open_ = _answer(connection, request.encoded(running.token), request.method)
        as_a_real_server = any(one in body for one in _SAID_WITH_500)
        fault = code >= 500 and code not in (501, 504) and not as_a_real_server
        assert not fault, (
            code,
            body[:500],
            request.method,
            request.target,
            request.headers,
            request.body[:2000],
        )
        if open_:
            again = Sent("GET", "/livez", [], b"")
            assert _answer(connection, again.encoded(running.token), "GET")[0] == 200


@pytest.mark.skipif(
    "FUZZ_EXAMPLES" not in os.environ,
    reason="random requests: FUZZ_EXAMPLES says how many; under load an answer is lost now and then",
)
@settings(max_examples=int(os.environ.get("FUZZ_EXAMPLES", "150")))
@example(request=Sent("FOO", "/api", [], b"x" * 500_000))
@given(request=_requests())
def test_any_request_is_answered(running: Running, request: Sent) -> None:
    _check(running, request)


_WORST: tuple[Any, ...] = (
    None,
    True,
    -1,
    10**30,
    "",
    [],
    [None],
    {},
    {"": 1},
    _DIGITS,
    f"{_DIGITS}%",
    f"{_DIGITS}Mi",
)


def _ways(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if way:
        yield way
    for key, below in (value if isinstance(value, dict) else dict(enumerate(value))).items():
        yield from _ways(below, (*way, key)) if isinstance(below, dict | list) else [(*way, key)]


_DELETE_OPTIONS: Object = {
    "apiVersion": "v1",
    "kind": "DeleteOptions",
    "gracePeriodSeconds": 0,
    "propagationPolicy": "Background",
    "preconditions": {"uid": "u", "resourceVersion": "1"},
    "dryRun": ["All"],
}
_SCALE = _object("Scale", "autoscaling/v1", spec={"replicas": 1})
_ALL_BODIES = [
    *(("POST", path, obj) for path, obj in _OBJECTS.items()),
    ("DELETE", f"/api/v1{_IN}/configmaps/x", _DELETE_OPTIONS),
    ("DELETE", f"/api/v1{_IN}/configmaps", _DELETE_OPTIONS),
    ("PUT", f"/apis/apps/v1{_IN}/deployments/x/scale", _SCALE),
    (
        "PUT",
        f"/apis/apps/v1{_IN}/deployments/x/status",
        _object("Deployment", "apps/v1", status={"replicas": 1}),
    ),
    ("PUT", "/api/v1/namespaces/x/finalize", _OBJECTS["/api/v1/namespaces"]),
]


@pytest.mark.parametrize(("method", "path", "whole"), _ALL_BODIES)
def test_no_value_of_any_field_is_a_fault(running: Running, method: str, path: str, whole: Object) -> None:
    """What chance finds seldom: every field of every object, with each of these."""
    with contextlib.closing(running.connection()) as connection:
        for way in _ways(whole):
            for value in (
                None,
                True,
                -1,
                10**30,
                "",
                [],
                [None],
                {},
                {"": 1},
                _DIGITS,
                f"{_DIGITS}%",
                f"{_DIGITS}Mi",
            ):
                body = json.loads(json.dumps(whole))
                functools.reduce(lambda inner, key: inner[key], way[:-1], body)[way[-1]] = value
                headers = [("Content-Type", "application/json")]
                sent = Sent(method, f"{path}?dryRun=All", headers, json.dumps(body).encode())
                code, answer, _ = _answer(connection, sent.encoded(running.token), method)
                assert code < 500, (code, answer, way, value)


_DEEP = b'{"a":' * 50_000 + b"1" + b"}" * 50_000
_MAPS = f"/api/v1{_IN}/configmaps"
_AS_JSON, _AS_PROTOBUF = ("Content-Type", "application/json"), ("Content-Type", _MEDIA[2])


def _written(name: str, **metadata: str) -> bytes:
    return json.dumps({**_object("ConfigMap"), "metadata": {"name": name, **metadata}}).encode()


def _with_managed_fields(fields: bytes) -> bytes:
    head = _field(1, b"v1") + _field(2, b"ConfigMap")
    return MAGIC + _field(1, head) + _field(2, _as_message("ConfigMap", (b"a", fields, 1, 1)))


@pytest.mark.parametrize(
    ("code", "request_"),
    [
        (403, Sent("GET", _MAPS, [("Impersonate-User", "a\xffb")], b"")),
        (201, Sent("POST", _MAPS, [_AS_JSON, ("User-Agent", "a\xffb/1")], _written("by-whom"))),
        (400, Sent("GET", f"{_MAPS}?resourceVersion={_DIGITS}", [], b"")),
        (400, Sent("GET", f"/sandbox/writes?since={_DIGITS}", [], b"")),
        (201, Sent("POST", _MAPS, [_AS_JSON], _written("by-version", resourceVersion=_DIGITS))),
        (400, Sent("POST", _MAPS, [_AS_PROTOBUF], _with_managed_fields(b"[" * 100_000))),
        (400, Sent("POST", _MAPS, [_AS_PROTOBUF], _with_managed_fields(_DEEP))),
        (400, Sent("POST", _MAPS, [_AS_PROTOBUF], _with_managed_fields(b'{"a":"\\ud800"}'))),
        (400, Sent("POST", _MAPS, [_AS_PROTOBUF], _with_managed_fields(b'{"a":NaN}'))),
    ],
)
def test_what_was_a_fault_is_answered(running: Running, code: int, request_: Sent) -> None:
    with contextlib.closing(running.connection()) as connection:
        found, body, open_ = _answer(connection, request_.encoded(running.token), request_.method)
        assert (found, open_) == (code, True), body
        again = Sent("GET", f"{_MAPS}?limit=500", [], b"")
        assert _answer(connection, again.encoded(running.token), "GET")[0] == 200
