"""Which shape and encoding the client wants back, and what encoding its body is in."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import yaml
from aiohttp.web import BaseRequest

from etl_operator.sandbox.http.content.yamlbody import load
from informers.apiserver.errors import StatusError
from informers.apiserver.errors.bounds import MAX_DEPTH, check_depth, too_deep
from informers.apiserver.protobuf import decode

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
SWAGGER_PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
APPLY_YAML = "application/apply-patch+yaml"
_META = "meta.k8s.io"
_DISCOVERY = "apidiscovery.k8s.io"
_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})

_PATCHES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    APPLY_YAML,
)


OBJECT_FORMS: Mapping[str, str] = {JSON: JSON, YAML: YAML, "application/x-yaml": YAML, "text/yaml": YAML}
OPENAPI_FORMS: Mapping[str, str] = {JSON: JSON}
SWAGGER_FORMS: Mapping[str, str] = {
    JSON: JSON,
    SWAGGER_PROTOBUF: SWAGGER_PROTOBUF,
    # No media type, but what Go's discovery client asks for.
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf": SWAGGER_PROTOBUF,
}
"""What can be asked for, and the media type of the answer to it."""


class Shape(enum.Enum):
    """What an answer is turned into before it is encoded."""

    OBJECT = "object"
    TABLE = "Table"
    PARTIAL = "PartialObjectMetadata"
    PARTIAL_LIST = "PartialObjectMetadataList"
    AGGREGATED_V2 = "APIGroupDiscoveryList"


@dataclass(frozen=True, slots=True)
class Wanted:
    """The answer's shape and encoding."""

    shape: Shape = Shape.OBJECT
    media_type: str = JSON


@dataclass(frozen=True, slots=True)
class _MediaRange:
    type: str
    parameters: Mapping[str, str]


def negotiate(
    accept: str, *, shapes: frozenset[Shape] = frozenset(Shape), forms: Mapping[str, str] = OBJECT_FORMS
) -> Wanted:
    """The first entry of ``accept`` this server can produce; no header means JSON.

    :param shapes: what makes sense at this address besides the plain object.
    :param forms: the media types the answer can have, by the names they are asked for with.
    :raises StatusError: 406 when nothing in the list can be produced.
    """
    if not accept:
        return Wanted()
    for media_range in _ranges(accept):
        media_type = JSON if media_range.type in ("*/*", "application/*") else forms.get(media_range.type)
        if media_type is None:
            continue
        shape = _shape(media_range.parameters)
        if shape is Shape.OBJECT or (shape in shapes and shape is not None):
            return Wanted(shape, media_type)
    raise StatusError(
        406,
        "NotAcceptable",
        f"only the following media types are accepted: {', '.join(dict.fromkeys(forms.values()))}",
    )


def is_pretty(request: BaseRequest) -> bool:
    """Whether JSON is to be indented: as the parameter ``pretty`` says, else for those who read it raw."""
    if wish := request.query.get("pretty"):
        return wish in _TRUE
    return request.headers.get("User-Agent", "").startswith(("curl", "Wget", "Mozilla/5.0"))


def _shape(parameters: Mapping[str, str]) -> Shape | None:
    kind = parameters.get("as")
    if kind is None:
        return Shape.OBJECT
    group, version = parameters.get("g"), parameters.get("v")
    if kind == Shape.AGGREGATED_V2.value:
        return Shape.AGGREGATED_V2 if (group, version) == (_DISCOVERY, "v2") else None
    if (group, version) != (_META, "v1"):
        return None
    try:
        return Shape(kind)
    except ValueError:
        return None


def _ranges(accept: str) -> Iterator[_MediaRange]:
    for entry in accept.split(","):
        name, *raw = entry.split(";")
        pairs = (parameter.partition("=") for parameter in raw)
        yield _MediaRange(
            name.strip().lower(), {key.strip(): value.strip().strip('"') for key, _, value in pairs}
        )


def media_type(content_type: str) -> str:
    """The bare media type of a ``Content-Type`` header, JSON when there is none."""
    return content_type.partition(";")[0].strip().lower() or JSON


def decode_body(raw: bytes, content_type: str) -> Any:
    """The body as plain values.

    :raises StatusError: 400 when it cannot be parsed or nests too deep, 413 when YAML aliases stand for too
        much.
    """
    try:
        if content_type in (YAML, "application/x-yaml", "text/yaml", APPLY_YAML):
            if raw.startswith(b"{"):
                # Most of what is called YAML is JSON, which is read many times as fast.
                with contextlib.suppress(ValueError, msgspec.DecodeError):
                    return _bounded(raw)
            return load(raw)
        return _bounded(raw)
    except (ValueError, msgspec.DecodeError, RecursionError) as error:
        problem = " ".join(str(error).split())
        raise StatusError(400, "BadRequest", f"error decoding the request body: {problem}") from None


def _bounded(raw: bytes) -> Any:
    try:
        value = msgspec.json.decode(raw)
    except RecursionError:
        raise too_deep() from None
    # What has fewer brackets cannot be too deep.
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH:
        check_depth(value)
    return value


def read_body(raw: bytes, content_type: str, *, method: str) -> Any:
    """The decoded body of a request; ``None`` when there is none, as deletions often have it.

    :raises StatusError: 415 for an encoding this server cannot read, 400 when the body cannot be parsed.
    """
    if not raw and method == "DELETE":
        return None
    if content_type == PROTOBUF and method != "PATCH":
        value = decode(raw)
        check_depth(value)
        return value
    accepted = _PATCHES if method == "PATCH" else (JSON, YAML, PROTOBUF)
    if content_type not in accepted and method == "PATCH":
        raise StatusError(415, "UnsupportedMediaType", "415: Unsupported Media Type", {})
    if content_type not in accepted:
        raise StatusError(
            415,
            "UnsupportedMediaType",
            "the body of the request was in an unknown format - "
            f"accepted media types include: {', '.join(accepted)}",
        )
    return decode_body(raw, content_type)


def encode(value: Any, media_type: str) -> bytes:
    """The answer's bytes. JSON ends in a newline, so that terminals stay readable."""
    if media_type == YAML:
        text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
        return text.encode()
    return msgspec.json.encode(value) + b"\n"
