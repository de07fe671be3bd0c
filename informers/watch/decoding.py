"""From bytes to the machine's inputs: pages of lists, and lines of watches.

Objects are cut out of the line or page they came in as bytes of their own: anything that referred to the
page would keep all of it in memory.
"""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from informers.cache.view import Header, View, type_prefix, view_of, view_of_bytes
from informers.objects import Resource, new_tuple
from informers.watch.machine import Bookmark, Changed, Changes, Input, Page, Refused

log = logging.getLogger(__name__)

INITIAL_END = "k8s.io/initial-events-end"
"""Annotation of the bookmark that ends a streaming list."""

_KINDS = {b"MODIFIED": False, b"ADDED": False, b"DELETED": True}
_STARTS = [(kind, b'{"type":"%s","object":' % kind) for kind in (*_KINDS, b"BOOKMARK", b"ERROR")]

_CHANGES = [(start, _KINDS[kind]) for kind, start in _STARTS if kind in _KINDS]


class _ListMeta(msgspec.Struct, gc=False, rename="camel"):
    resource_version: str | None = None
    continue_: str | None = msgspec.field(default=None, name="continue")


class _List(msgspec.Struct, gc=False):
    metadata: _ListMeta = msgspec.field(default_factory=_ListMeta)
    items: list[msgspec.Raw] | None = None


class _Line(msgspec.Struct, gc=False):
    type: str
    object: msgspec.Raw


_LIST = msgspec.json.Decoder(_List)
_LINE = msgspec.json.Decoder(_Line)
_HEADER = msgspec.json.Decoder(Header)
_ANNOTATIONS = msgspec.json.Decoder(dict[str, str] | None)


def decode_page(body: bytes, resource: Resource) -> Page:
    """A page of a list. Items that are no objects are left out, and logged.

    :raises msgspec.DecodeError: when the body is no list at all, or something in it is nested too deeply.
    """
    try:
        page = _LIST.decode(body)
    except RecursionError:
        raise msgspec.DecodeError("an item is nested too deeply to be read") from None
    prefix = type_prefix(resource.api_version, resource.kind)
    views = [view for item in page.items or () if (view := _item(bytes(item), prefix, resource)) is not None]
    return Page(views, page.metadata.resource_version or "", page.metadata.continue_ or "")


def _item(content: bytes, prefix: bytes, resource: Resource) -> View | None:
    try:
        view = view_of_bytes(content, prefix)
    except msgspec.ValidationError as error:
        # One object nobody can read must not hide all the others.
        log.warning("%s: skipped an item: %s", resource, error)
        return None
    if view is None:
        log.warning("%s: skipped an item without a name", resource)
    return view


class LineDecoder:
    """Cuts chunks into lines, however they are cut themselves, and decodes them.

    Lines may be of any length. Successive changes come as one input.
    """

    def __init__(self, resource: Resource) -> None:
        self._resource = resource
        self._prefix = type_prefix(resource.api_version, resource.kind)
        self._rest: list[bytes] = []

    def feed(self, chunk: bytes) -> list[Input]:
        """What the chunk completes, in order.

        :raises msgspec.DecodeError: when a line is not JSON; the stream is then of no use any more.
        """
        inputs: list[Input] = []
        changes: list[Changed] = []
        for line in self._lines(chunk):
            # Nearly every line there ever is; the rest takes its time.
            given = self._change(line) or self._decode(line)
            if isinstance(given, Changed):
                changes.append(given)
            elif given is not None:
                if changes:
                    inputs.append(Changes(changes))
                    changes = []
                inputs.append(given)
        if changes:
            inputs.append(Changes(changes))
        return inputs

    def _lines(self, chunk: bytes) -> list[bytes]:
        *whole, rest = chunk.split(b"\n")
        if whole and self._rest:
            whole[0] = b"".join((*self._rest, whole[0]))
            self._rest.clear()
        if rest:
            self._rest.append(rest)
        return [line for line in whole if line.strip()]

    def _change(self, line: bytes) -> Changed | None:
        """A change as servers write it; ``None`` for whatever else, and for what is not clear at once."""
        for start, deleted in _CHANGES:
            if line.startswith(start) and line.endswith(b"}"):
                content = line[len(start) : -1]
                try:
                    view = view_of(_HEADER.decode(content), content, self._prefix)
                except (msgspec.DecodeError, RecursionError):
                    return None
                return new_tuple(Changed, (view, deleted)) if view is not None else None
        return None

    def _decode(self, line: bytes) -> Changed | Bookmark | Refused | None:
        try:
            split = _split(line)
            if split is not None:
                try:
                    return self._understand(*split)
                except msgspec.ValidationError:
                    raise
                except msgspec.DecodeError:
                    # Cut in the wrong place, or no JSON: the line as a whole decides.
                    pass
            decoded = _LINE.decode(line)
            return self._understand(decoded.type.encode(), bytes(decoded.object))
        except (msgspec.ValidationError, RecursionError) as error:
            # One object that nobody can read, by accident or on purpose, must not cost us all the others.
            log.warning("%s: skipped a change: %s", self._resource, error)
            return None

    def _understand(self, kind: bytes, content: bytes) -> Changed | Bookmark | Refused | None:
        if kind == b"ERROR":
            return refusal(msgspec.json.decode(content, type=dict[str, Any]))
        header = _HEADER.decode(content)
        if kind == b"BOOKMARK":
            annotations = header.metadata.annotations
            marks = _ANNOTATIONS.decode(annotations) if len(annotations) else None
            return Bookmark(header.metadata.resource_version, (marks or {}).get(INITIAL_END) == "true")
        deleted = _KINDS.get(kind)
        view = view_of(header, content, self._prefix) if deleted is not None else None
        if view is None or deleted is None:
            log.warning("%s: skipped a %s: no name, or no known kind", self._resource, kind.decode())
            return None
        return Changed(view, deleted)


def _split(line: bytes) -> tuple[bytes, bytes] | None:
    """The type of a watch line and its object, by position: right for lines as servers write them, and found
    to be wrong for all others by decoding the object."""
    for kind, start in _STARTS:
        if line.startswith(start):
            return kind, line.rstrip()[len(start) : -1]
    return None


def refusal(status: dict[str, Any], code: int | None = None, retry_after: float | None = None) -> Refused:
    """What a ``Status`` means to a watch.

    :param code: the HTTP status, where it was an HTTP answer that refused.
    """
    if code is None:
        code = status["code"] if isinstance(status.get("code"), int) else 500
    details = status.get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    too_large = any(
        isinstance(cause, dict) and cause.get("reason") == "ResourceVersionTooLarge" for cause in causes or ()
    )
    return Refused(code, code == 410 or too_large, retry_after)
