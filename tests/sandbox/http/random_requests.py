"""Random requests: methods, paths, parameters, headers and bodies of clients, put together and damaged."""

from __future__ import annotations

import json
import struct
from typing import Any

import yaml
from hypothesis import strategies as st

from informers.apiserver.protobuf import MAGIC
from informers.objects import Object
from tests.informers.apiserver.requests.breaking import broken
from tests.sandbox.http.protobuf_bodies import as_message, field, varint
from tests.sandbox.http.raw import Sent
from tests.sandbox.http.samples import OBJECTS, an_object

DIGITS = "9" * 5000
"""More than Python turns into a number."""

_ODD: list[Any] = [
    *(None, True, 0, -1, 1.5, 1e308, 2**63, -(2**63), 10**30, "", "a", "A b", [], {}, [None], {"": 1}, [[]]),
    *(DIGITS, f"{DIGITS}%", f"{DIGITS}Mi", f"1e{DIGITS}", f"0.{DIGITS}", "1e99999999", "-5%", "٣%", "٣"),
    *("\ud800", "\x00", "\U0010ffff", "2026-13-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-99-99"),
    *("::", "*/0 * * * *", "1.2.3.4/99", "0/0", "=", "a=b,c", "%", "NaN", "Infinity"),
    *(float("inf"), float("nan")),
]  # fmt: skip
_way = st.lists(st.integers(0, 7), min_size=1, max_size=9)
_text = st.one_of(st.sampled_from([str(one) for one in _ODD]), st.text(max_size=8))


@st.composite
def _message(draw: st.DrawFn, depth: int = 0) -> bytes:
    """Bytes that are mostly in protobuf's form, field numbers and all."""
    out = b""
    for _ in range(draw(st.integers(0, 3))):
        number = draw(st.integers(1, 30))
        match draw(st.integers(0, 5)):
            case 0:
                out += varint(number << 3) + varint(draw(st.integers(0, 2**64 - 1)))
            case 1:
                out += varint(number << 3 | 1) + struct.pack("<d", draw(st.floats()))
            case 2:
                out += field(number, draw(_leaf_bytes))
            case 3:
                out += draw(st.binary(max_size=6))
            case _ if depth < 6:
                out += field(number, draw(_message(depth + 1)))
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
    meta = field(1, str(obj["apiVersion"]).encode()) + field(2, str(obj["kind"]).encode())
    raw = draw(st.one_of(_message(), st.builds(as_message, st.just(obj["kind"]), _filled)))
    return MAGIC + field(1, meta) + field(2, raw)


_filled = st.tuples(
    _leaf_bytes, _leaf_bytes, st.integers(-(2**63), 2**63 - 1), st.integers(-(2**31), 2**31 - 1)
)


MEDIA = (
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
    *(path for path in OBJECTS),
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


@st.composite
def requests(draw: st.DrawFn) -> Sent:
    method = draw(
        st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "FOO"])
    )
    path = draw(st.sampled_from(_PLACES))
    obj = OBJECTS.get(path) or an_object("ConfigMap")
    target = path + draw(st.sampled_from(_BELOW))
    query = draw(
        st.lists(
            st.tuples(st.sampled_from(_PARAMETERS), st.one_of(st.sampled_from(_VALUES), _text)), max_size=3
        )
    )
    if query:
        target += "?" + "&".join(f"{name}={_quoted(value)}" for name, value in query)
    media = draw(st.sampled_from(MEDIA))
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
    value: Any = broken(obj, draw(_way), draw(st.sampled_from(_ODD)))
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
