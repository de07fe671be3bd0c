"""What the server says about itself: discovery, OpenAPI, version. Built when first asked after a change."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from etl_operator.sandbox.http.content.negotiation import (
    OPENAPI_FORMS,
    SWAGGER_FORMS,
    SWAGGER_PROTOBUF,
    Shape,
    Wanted,
)
from etl_operator.sandbox.http.documents import openapi, swagger, swagger_protobuf
from etl_operator.sandbox.http.documents.discovery import Discovery, Served
from informers.apiserver.kinds.registry import ResourceType
from informers.apiserver.schema.bundle import definitions
from informers.objects import Object, Resource

_SWAGGER = "v2"
_PROTOBUF = "v2 in protobuf"

VERSION = {
    "major": "1",
    "minor": "37",
    "gitVersion": "v1.37.0-etl-operator-sandbox",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "none",
    "compiler": "none",
    "platform": f"{platform.system().lower()}/{platform.machine()}",
}
"""``GET /version``. The minor version is that of the built-in schemas."""


def is_document(path: str) -> bool:
    """Whether a path has the form of a document's; there may be none at it."""
    match path.strip("/").split("/"):
        case ["version"] | ["api"] | ["api", _] | ["apis"] | ["apis", _] | ["apis", _, _] | ["openapi", *_]:
            return True
    return False


@dataclass(frozen=True, slots=True)
class Encoded:
    """An OpenAPI document as it is sent.

    :param digest: the hash of its JSON form, whatever form this is.
    :param forms: in which it can be had, see :func:`negotiate`.
    """

    body: bytes
    digest: str
    forms: Mapping[str, str]


class Documents:
    """Discovery and OpenAPI documents.

    :param types: every resource version served, at the moment of the call.
    :param revision: changes whenever ``types`` would.
    """

    def __init__(self, types: Callable[[], Iterable[ResourceType]], revision: Callable[[], int]) -> None:
        self._types = types
        self._revision = revision
        self._built: tuple[int, Discovery, _Schemas] | None = None
        self._openapi: dict[str, Encoded] = {}

    def answer(self, path: str, wanted: Wanted, address: str) -> Object | Encoded | None:
        """The document at a path; ``None`` when there is none."""
        discovery = self._current()[0]
        match path.strip("/").split("/"):
            case ["version"]:
                return VERSION
            case ["api"]:
                if wanted.shape is Shape.AGGREGATED_V2:
                    return discovery.aggregated(core=True)
                return discovery.core_versions(address)
            case ["apis"]:
                if wanted.shape is Shape.AGGREGATED_V2:
                    return discovery.aggregated(core=False)
                return discovery.group_list()
            case ["api", version]:
                return discovery.resource_list("", version)
            case ["apis", group]:
                return discovery.group(group)
            case ["apis", group, version]:
                return discovery.resource_list(group, version)
            case ["openapi", "v2"]:
                return self._swagger_protobuf() if wanted.media_type == SWAGGER_PROTOBUF else self._swagger()
            case ["openapi", "v3"]:
                return openapi.index((name, self._document(name).digest) for name in self._names())
            case ["openapi", "v3", *rest] if "/".join(rest) in self._names():
                return self._document("/".join(rest))
        return None

    def _current(self) -> tuple[Discovery, _Schemas]:
        revision = self._revision()
        if self._built is None or self._built[0] != revision:
            types = list(self._types())
            self._built = revision, Discovery(types), _Schemas(types)
            # What nobody asks for again is not kept.
            self._openapi.clear()
        return self._built[1], self._built[2]

    def _names(self) -> dict[str, tuple[str, str, Iterable[Served]]]:
        return {
            f"apis/{group}/{version}" if group else f"api/{version}": (group, version, resources)
            for group, version, resources in self._current()[0].versions()
        }

    def _swagger(self) -> Encoded:
        discovery, schemas = self._current()
        if _SWAGGER not in self._openapi:
            served = (one for _, _, resources in discovery.versions() for one in resources)
            body = swagger.document(served, schemas)
            self._openapi[_SWAGGER] = Encoded(body, openapi.digest(body), SWAGGER_FORMS)
        return self._openapi[_SWAGGER]

    def _swagger_protobuf(self) -> Encoded:
        source = self._swagger()
        if _PROTOBUF not in self._openapi:
            self._openapi[_PROTOBUF] = replace(source, body=swagger_protobuf.encoded(source.body))
        return self._openapi[_PROTOBUF]

    def _document(self, name: str) -> Encoded:
        schemas = self._current()[1]
        if name not in self._openapi:
            group, version, resources = self._names()[name]
            body = openapi.document(group, version, list(resources), schemas)
            self._openapi[name] = Encoded(body, openapi.digest(body), OPENAPI_FORMS)
        return self._openapi[name]


class _Schemas:
    def __init__(self, types: Sequence[ResourceType]) -> None:
        self._custom = {
            one.resource: one.schema.raw for one in types if one.custom and one.schema is not None
        }
        self._names = {_component(resource): resource for resource in self._custom}
        components = ((self.component(one.resource), one.resource) for one in types)
        self._lists = {f"{name}List": (name, resource) for name, resource in components if name is not None}

    def component(self, resource: Resource) -> str | None:
        if resource in self._custom:
            return _component(resource)
        return _built_in_names().get((resource.group, resource.version, resource.kind))

    def definition(self, name: str) -> Mapping[str, Any]:
        if name in self._names:
            resource = self._names[name]
            return openapi.with_kind(self._custom[resource], resource)
        if name in self._lists:
            return openapi.list_of(*self._lists[name])
        found: Mapping[str, Any] = definitions()[name]
        return found

    def custom(self, resource: Resource) -> Mapping[str, Any] | None:
        return self._custom.get(resource)

    def defined(self, name: str) -> Resource | None:
        return self._names.get(name)


def _component(resource: Resource) -> str:
    return ".".join([*reversed(resource.group.split(".")), resource.version, resource.kind])


_BUILT_IN: dict[tuple[str, str, str], str] = {}


def _built_in_names() -> Mapping[tuple[str, str, str], str]:
    if not _BUILT_IN:
        for name, schema in definitions().items():
            for gvk in schema.get(openapi.GVK) or ():
                _BUILT_IN.setdefault((gvk["group"], gvk["version"], gvk["kind"]), name)
    return _BUILT_IN
