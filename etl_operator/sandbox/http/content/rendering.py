"""Objects, lists and watch streams in the shape and encoding the client asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from etl_operator.sandbox.http.content.negotiation import JSON, Shape, Wanted, encode
from etl_operator.sandbox.http.printing.tables import TableMaker, partial, partial_list
from informers.apiserver.kinds.registry import ResourceType
from informers.apiserver.store import Stored
from informers.objects import Object, Resource

_SCALE = Resource("autoscaling", "v1", "scales", "Scale")


class Renderer:
    """Renders what one request gets.

    :param include: the ``includeObject`` parameter of tables.
    :param now: seconds since the epoch, for ages in tables.
    """

    def __init__(self, rt: ResourceType, wanted: Wanted, include: str, now: Callable[[], float]) -> None:
        self._rt = rt
        self._wanted = wanted
        self._include = include
        self._maker = TableMaker(rt.resource, rt.columns, include)
        self._now = now
        self._headers_sent = False

    @property
    def content_type(self) -> str:
        """For the answer's header."""
        return self._wanted.media_type

    def one(self, obj: Object) -> bytes:
        """A single object; a ``Status`` is what it is in every shape, as a real server has it."""
        if obj.get("kind") == "Status" and obj.get("apiVersion") == "v1":
            return encode(obj, self._wanted.media_type)
        if self._wanted.shape is Shape.TABLE:
            maker = self._maker if obj.get("kind") != _SCALE.kind else TableMaker(_SCALE, (), self._include)
            obj = maker.table([obj], _list_metadata(obj), self._now())
        elif self._wanted.shape is Shape.PARTIAL:
            obj = partial(obj)
        return encode(obj, self._wanted.media_type)

    def many(self, items: Sequence[Stored], metadata: Mapping[str, Any]) -> bytes:
        """A list."""
        if self._wanted.shape is Shape.TABLE:
            table = self._maker.table([item.obj for item in items], metadata, self._now())
            return encode(table, self._wanted.media_type)
        if self._wanted.shape in (Shape.PARTIAL_LIST, Shape.PARTIAL):
            return encode(partial_list([item.obj for item in items], metadata), self._wanted.media_type)
        resource = self._rt.resource
        header = {
            "kind": f"{resource.kind}List",
            "apiVersion": f"{resource.group}/{resource.version}" if resource.group else resource.version,
            "metadata": dict(metadata),
        }
        if self._wanted.media_type != JSON:
            return encode({**header, "items": [item.obj for item in items]}, self._wanted.media_type)
        # Every object's bytes are cached in the store: a list is a join, not an encoding.
        start = msgspec.json.encode(header)[:-1]
        return b"".join((start, b',"items":[', b",".join(item.encoded for item in items), b"]}\n"))

    def event(self, kind: str, stored: Stored | None, obj: Object | None = None) -> bytes:
        """One line of a watch. Bookmarks and errors come as plain objects."""
        if stored is not None and self._wanted.shape is Shape.OBJECT:
            return b"".join((b'{"type":"', kind.encode(), b'","object":', stored.encoded, b"}\n"))
        shown = stored.obj if stored is not None else obj
        assert shown is not None
        if kind != "ERROR" and self._wanted.shape is Shape.TABLE:
            headers, self._headers_sent = not self._headers_sent, True
            rows = [shown] if kind != "BOOKMARK" else []
            shown = self._maker.table(rows, _list_metadata(shown), self._now(), headers=headers)
        elif kind != "ERROR" and self._wanted.shape in (Shape.PARTIAL, Shape.PARTIAL_LIST):
            shown = partial(shown)
        return msgspec.json.encode({"type": kind, "object": shown}) + b"\n"


def _list_metadata(obj: Object) -> dict[str, Any]:
    return {"resourceVersion": (obj.get("metadata") or {}).get("resourceVersion", "")}
