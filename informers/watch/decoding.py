"""From bytes to the machine's inputs: pages of lists, and lines of watches.

Objects are cut out of the line or page they came in as bytes of their own: anything that referred to the
page would keep all of it in memory.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import msgspec

from informers.objects import Resource
from informers.views.view import Header, View, type_prefix, view_of_bytes, view_within
from informers.watch.events import Apply, Delete
from informers.watch.machine import Bookmark, Changed, Changes, Input, Page, Refused

log = logging.getLogger(__name__)

INITIAL_END = "k8s.io/initial-events-end"
"""Annotation of the bookmark that ends a streaming list."""

_KINDS = {b"MODIFIED": False, b"ADDED": False, b"DELETED": True}
_STARTS = [(kind, b'{"type":"%s","object":' % kind) for kind in (*_KINDS, b"BOOKMARK", b"ERROR")]
_CHANGES = tuple(start for kind, start in _STARTS if _KINDS.get(kind) is False)
_MODIFIED, _ADDED = map(len, _CHANGES)
_BRACE = ord("}")
_UNTYPED = b'{"metadata":{'
_TOKENS = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[{}\[\]]', re.DOTALL).finditer
_ITEMS = 3
"""The level of a list's items: in the list, in its items."""
_PARTS = 4
"""The level of labels: in a line, in its object, in the metadata."""
_TOO_DEEP = 100
"""Levels that nothing has which is kept in a header."""


class _ListMeta(msgspec.Struct, gc=False, rename="camel"):
    resource_version: str | None = None
    continue_: str | None = msgspec.field(default=None, name="continue")


class _List(msgspec.Struct, gc=False):
    # Required: an empty list has it as well, and what has none (a proxy's page) must not pass for one.
    items: list[msgspec.Raw] | None
    metadata: _ListMeta = msgspec.field(default_factory=_ListMeta)


class _Line(msgspec.Struct, gc=False):
    # Raw: text that is not UTF-8 is a fault of the object, not of the line.
    type: msgspec.Raw
    object: msgspec.Raw


_LIST = msgspec.json.Decoder(_List)
_LINE = msgspec.json.Decoder(_Line)
_TYPE = msgspec.json.Decoder(str)
_HEADER = msgspec.json.Decoder(Header)
_ANNOTATIONS = msgspec.json.Decoder(dict[str, str] | None)


def decode_page(body: bytes, resource: Resource) -> Page:
    """A page of a list. Items that are no objects are left out, and logged.

    :raises msgspec.DecodeError: when the body is no list at all.
    """
    try:
        try:
            page = _LIST.decode(body)
            items: Iterable[msgspec.Raw | bytes] = page.items or ()
        except RecursionError:
            body, items = _cut(body, _ITEMS)
            page = _LIST.decode(body)
    except UnicodeDecodeError as error:
        # msgspec before 0.23.
        raise msgspec.DecodeError(str(error)) from None
    prefix = type_prefix(resource.api_version, resource.kind)
    ordered = _beginnings(resource)
    views = []
    for item in items:
        content = bytes(item)
        view = _view_at_once(content, ordered, prefix) or _view(content, prefix, resource)
        if view is not None:
            views.append(view)
    return Page(views, page.metadata.resource_version or "", page.metadata.continue_ or "")


def _cut(body: bytes, level: int, deeper: int = 0) -> tuple[bytes, list[bytes]]:
    """JSON whose parts at a level are empty, and what was in them. Slow, and needed only where something is
    nested too deeply for the decoder, which then reads nothing at all.

    :param deeper: only parts with at least so many levels in them.
    """
    rest, parts, depth, deepest, begin, end = [], [], 0, 0, 0, 0
    for token in _TOKENS(body):
        at = token.start()
        if body[at] in b"{[":
            depth += 1
            if depth == level:
                begin = at
                deepest = 0
            deepest = max(deepest, depth)
        elif body[at] in b"}]":
            if depth == level and deepest - level >= deeper:
                parts.append(body[begin : at + 1])
                rest.append(body[end:begin])
                end = at + 1
            depth -= 1
    return b"{}".join((*rest, body[end:])), parts


def _view_at_once(content: bytes, ordered: tuple[bytes, ...], prefix: bytes) -> View | None:
    """The view of an item as servers write it; ``None`` for what takes a closer look."""
    if content.startswith(_UNTYPED):
        content = prefix + content[1:]
    elif not content.startswith(ordered):
        return None
    try:
        return view_within(content, 0, len(content))
    except (ValueError, RecursionError):
        return None


def _view(content: bytes, prefix: bytes, resource: Resource) -> View | None:
    try:
        view = view_of_bytes(content, prefix)
    except (ValueError, RecursionError) as error:
        # One object nobody can read must not hide all the others.
        log.warning("%s: skipped an item: %s", resource, error)
        return None
    if view is None:
        log.warning("%s: skipped an item without a name", resource)
    return view


def _beginnings(resource: Resource) -> tuple[bytes, ...]:
    """How servers begin an object: custom ones with their fields in order, built-in ones as typed."""
    kind, version = (
        msgspec.json.encode({name: value})[1:-1]
        for name, value in (("kind", resource.kind), ("apiVersion", resource.api_version))
    )
    return tuple(b'{%b,%b,"metadata":{' % both for both in ((version, kind), (kind, version)))


class LineDecoder:
    """Cuts chunks into lines, however they are cut themselves, and decodes them.

    Lines may be of any length. Successive changes come as one input.
    """

    def __init__(self, resource: Resource) -> None:
        self._resource = resource
        self._prefix = type_prefix(resource.api_version, resource.kind)
        self._rest: list[bytes] = []
        self._modified, self._added = (
            tuple(start + one for one in _beginnings(resource)) for start in _CHANGES
        )

    def feed(self, chunk: bytes) -> list[Input]:
        """What the chunk completes, in order.

        :raises msgspec.DecodeError: when a line is not JSON; the stream is then of no use any more.
        """
        begin, end = 0, chunk.rfind(b"\n") + 1
        inputs: list[Input] = []
        if end:
            changes: list[Changed] = []
            if self._rest:
                begin = chunk.find(b"\n") + 1
                first = b"".join((*self._rest, chunk[:begin]))
                self._rest.clear()
                changes = self._read(first, 0, len(first), inputs, changes)
            if begin < end:
                changes = self._read(chunk, begin, end, inputs, changes)
            if changes:
                inputs.append(Changes(changes))
        if end < len(chunk):
            self._rest.append(chunk[end:])
        return inputs

    def _read(
        self, content: bytes, begin: int, end: int, inputs: list[Input], changes: list[Changed]
    ) -> list[Changed]:
        """The lines between ``begin`` and ``end``; changes become an input when something else follows.

        :returns: the changes that have not.
        """
        modified, added = self._modified, self._added
        while begin < end:
            stop = content.find(b"\n", begin)
            # Nearly every line there ever is; the rest takes its time.
            start = 0
            if content.startswith(modified, begin):
                start = begin + _MODIFIED
            elif content.startswith(added, begin):
                start = begin + _ADDED
            if start and content[stop - 1] == _BRACE:
                try:
                    view = view_within(content, start, stop - 1)
                except (ValueError, RecursionError):
                    view = None
                if view is not None:
                    changes.append(Apply(view))
                    begin = stop + 1
                    continue
            if line := content[begin:stop].strip():
                given = self._decode(line)
                if isinstance(given, Apply | Delete):
                    changes.append(given)
                elif given is not None:
                    if changes:
                        inputs.append(Changes(changes))
                        changes = []
                    inputs.append(given)
            begin = stop + 1
        return changes

    def _decode(self, line: bytes) -> Changed | Bookmark | Refused | None:
        """What a line means.

        :raises msgspec.DecodeError: when it is not JSON.
        """
        kind = b""
        try:
            split = _split(line)
            if split is not None:
                # Cut in the wrong place, not JSON, or not UTF-8: the line as a whole decides.
                with suppress(ValueError):
                    return self._understand(*split)
            decoded = _LINE.decode(line)
        except (msgspec.ValidationError, RecursionError) as error:
            return self._skip(line, error)
        try:
            kind = _TYPE.decode(decoded.type).encode()
            return self._understand(kind, bytes(decoded.object))
        except (ValueError, RecursionError) as error:
            # The line is JSON. Whatever the error was about, the stream is over.
            return refusal({}) if kind == b"ERROR" else self._skip(line, error)

    def _skip(self, line: bytes, error: Exception) -> Delete | Refused | None:
        """Go on after an object that nobody can read: it must not cost all the others."""
        if isinstance(error, RecursionError) and (end := self._end_of(line)) is not None:
            return end
        log.warning("%s: skipped a change: %s", self._resource, error)
        return None

    def _end_of(self, line: bytes) -> Delete | Refused | None:
        """What must be known of a line that is nested too deeply: the end of its object, or of the stream."""
        try:
            decoded = _LINE.decode(_cut(line, _PARTS, _TOO_DEEP)[0])
            kind = _TYPE.decode(decoded.type)
            if kind == "ERROR":
                return refusal({})
            view = view_of_bytes(bytes(decoded.object), self._prefix) if kind == "DELETED" else None
        except (ValueError, RecursionError):
            return None
        return Delete(view) if view is not None else None

    def _understand(self, kind: bytes, content: bytes) -> Changed | Bookmark | Refused | None:
        if kind == b"ERROR":
            return refusal(msgspec.json.decode(content, type=dict[str, Any]))
        if kind == b"BOOKMARK":
            header = _HEADER.decode(content)
            annotations = header.metadata.annotations
            marks = _ANNOTATIONS.decode(annotations) if len(annotations) else None
            return Bookmark(header.metadata.resource_version, (marks or {}).get(INITIAL_END) == "true")
        deleted = _KINDS.get(kind)
        view = view_of_bytes(content, self._prefix) if deleted is not None else None
        if view is None or deleted is None:
            log.warning("%s: skipped a %s: no name, or no known kind", self._resource, kind.decode())
            return None
        return Delete(view) if deleted else Apply(view)


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
    too_large = isinstance(causes, list) and any(
        isinstance(cause, dict) and cause.get("reason") == "ResourceVersionTooLarge" for cause in causes
    )
    # Not every server says both.
    too_old = code == 410 or status.get("reason") in ("Expired", "Gone")
    return Refused(code, too_old or too_large, retry_after)
