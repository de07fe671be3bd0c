"""Reading HTTP/1.1 answers, without any I/O: bytes in, body out.

Strict where leniency would let two readers of one stream disagree about where an answer ends (RFC 9112,
sections 6 and 7), and short otherwise: API servers and the proxies before them write plain framing.
"""

from __future__ import annotations

import re
from collections.abc import Callable

MAX_HEAD = 2**16
"""Bytes a status line with its headers may take, and as many the trailers."""
MAX_SIZE_LINE = 4096
"""Bytes the line with a chunk's size and extensions may take."""

_HEAD_END = b"\r\n\r\n"
_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [^\r\n]*)?").fullmatch
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00\r\n]*)").fullmatch
_LENGTH = re.compile(r"[0-9]{1,15}").fullmatch
_CHUNK_SIZE = re.compile(rb"\r\n([0-9A-Fa-f]{1,12})[ \t]*(?:;[^\r\n]*)?").fullmatch
_LINE_END = b"\r\n"
_MOST_SIZES = 256
"""Size lines a parser remembers: a watch has one chunk per event, and events of one kind are alike."""
_NO_BODY = frozenset((204, 304))


class Malformed(ConnectionError):
    """What came is not HTTP/1.1, or ended before the answer did."""


class ResponseParser:
    """Reads the answer to one request. Interim answers (1xx) are passed over.

    :param method: of the request; nothing follows the head of an answer to HEAD.
    """

    __slots__ = (
        "_held", "_left", "_method", "_read", "_sizes", "begun", "complete", "excess", "headers",
        "keep_alive", "status",
    )  # fmt: skip

    def __init__(self, method: str) -> None:
        self._method = method
        self._held = b""
        """What came and cannot be understood before more has come; never a part of the body."""
        self._left = 0
        """Body bytes still to come, of this chunk or of the whole."""
        self._sizes: dict[bytes, int] = {}
        self._read: Callable[[bytes, list[bytes]], None] = self._head
        self.begun = False
        """Whether anything has come."""
        self.status = 0
        """0 until the head is complete."""
        self.headers: dict[str, str] = {}
        """By lower-case name; of a name that comes twice, the last."""
        self.keep_alive = False
        """Whether the server lets the connection be used again; known with the head."""
        self.complete = False
        self.excess = False
        """Whether bytes came after the end."""

    def feed(self, data: bytes) -> list[bytes]:
        """The pieces of the body in ``data``; none is empty.

        :raises Malformed: and whatever else comes on this connection means nothing any more.
        """
        pieces: list[bytes] = []
        self._read(data, pieces)
        return pieces

    def end(self) -> None:
        """The server sends no more.

        :raises Malformed: when the answer should have gone on.
        """
        if self._read == self._rest:
            self._finish(b"")
        elif not self.complete:
            raise Malformed("the server ended the connection in the middle of an answer")

    # -- head --------------------------------------------------------------------------------------

    def _head(self, data: bytes, pieces: list[bytes]) -> None:
        seen = max(0, len(self._held) - 3)
        data = self._held + data
        self.begun = self.begun or bool(data)
        status = 0
        # Interim answers first, as many as there are.
        while status < 200:
            end = data.find(_HEAD_END, seen)
            if end > MAX_HEAD or (end < 0 and len(data) > MAX_HEAD):
                raise Malformed(f"more than {MAX_HEAD} bytes of headers")
            if end < 0:
                if not b"HTTP/1.".startswith(data[:7]):
                    raise Malformed("not an answer in HTTP/1.1")
                self._held = data
                return
            version, status, headers = _parsed(data[:end])
            if status == 101:
                raise Malformed("the server changed the protocol without a request")
            data = data[end + len(_HEAD_END) :]
            seen = 0
        self._held = b""
        self.headers = headers
        connection = [token.strip() for token in headers.get("connection", "").lower().split(",")]
        self.keep_alive = "close" not in connection and (version == 1 or "keep-alive" in connection)
        self._read = self._body(version, status)
        # Last: whoever sees it may rely on the rest.
        self.status = status
        if not self.complete or data:
            self._read(data, pieces)

    def _body(self, version: int, status: int) -> Callable[[bytes, list[bytes]], None]:
        """How to read what follows the head."""
        coding, length = self.headers.get("transfer-encoding"), self.headers.get("content-length")
        if self._method == "HEAD" or status in _NO_BODY:
            self.complete = True
            return self._after
        if coding is not None:
            if length is not None or version == 0 or coding.strip().lower() != "chunked":
                raise Malformed(f"cannot read a body with transfer coding {coding!r}")
            # As after every chunk.
            self._held = _LINE_END
            return self._chunked
        if length is not None:
            if not _LENGTH(length):
                raise Malformed(f"an invalid content length {length!r}")
            self._left = int(length)
            self.complete = self._left == 0
            return self._after if self.complete else self._counted
        self.keep_alive = False
        return self._rest

    # -- body --------------------------------------------------------------------------------------

    def _counted(self, data: bytes, pieces: list[bytes]) -> None:
        piece = data[: self._left]
        if piece:
            pieces.append(piece)
            self._left -= len(piece)
        if not self._left:
            self._finish(data[len(piece) :])

    def _rest(self, data: bytes, pieces: list[bytes]) -> None:
        if data:
            pieces.append(data)

    def _chunked(self, data: bytes, pieces: list[bytes]) -> None:
        if self._held:
            data = self._held + data
            self._held = b""
        at, end, left, sizes = 0, len(data), self._left, self._sizes
        while at < end:
            if not left:
                # The end of the chunk before, or of the head, belongs to the line: one look-up for both.
                line_end = data.find(_LINE_END, at + 2)
                if line_end < 0:
                    _check_beginning(data[at:])
                    break
                line = data[at:line_end]
                left = sizes.get(line) or self._size(line)
                at = line_end + 2
                if not left:
                    self._read = self._trailers
                    # The empty line that ends them may be the first.
                    self._held = _LINE_END
                    self._read(data[at:], pieces)
                    return
            stop = at + left
            if stop <= end:
                pieces.append(data[at:stop])
                left = 0
                at = stop
            elif at < end:
                pieces.append(data[at:])
                left = stop - end
                at = end
        self._left = left
        self._held = data[at:]

    def _size(self, line: bytes) -> int:
        """What the line before a chunk says."""
        _check_beginning(line)
        said = _CHUNK_SIZE(line)
        if said is None:
            raise Malformed("a chunk without a size")
        size = int(said[1], 16)
        if len(self._sizes) < _MOST_SIZES:
            self._sizes[line] = size
        return size

    def _trailers(self, data: bytes, pieces: list[bytes]) -> None:
        data = self._held + data
        end = data.find(_HEAD_END)
        if end > MAX_HEAD or (end < 0 and len(data) > MAX_HEAD):
            raise Malformed(f"more than {MAX_HEAD} bytes of trailers")
        if end < 0:
            self._held = data
            return
        if not all(_FIELD(line) for line in data[2:end].split(b"\r\n") if end):
            raise Malformed("an invalid trailer")
        self._finish(data[end + len(_HEAD_END) :])

    def _after(self, data: bytes, pieces: list[bytes]) -> None:
        self.excess = self.excess or bool(data)

    def _finish(self, data: bytes) -> None:
        self._held = b""
        self.complete = True
        self._read = self._after
        self.excess = bool(data)


def _check_beginning(line: bytes) -> None:
    """What may still become the line before a chunk, or is one."""
    if line[:2] != _LINE_END[: len(line)]:
        raise Malformed("a chunk is longer than its size")
    if len(line) > MAX_SIZE_LINE + 2 or b"\n" in line[2:]:
        raise Malformed("a chunk without a size")


def _parsed(head: bytes) -> tuple[int, int, dict[str, str]]:
    """Minor version, status, and headers."""
    first, *lines = head.split(b"\r\n")
    status = _STATUS(first)
    if status is None:
        raise Malformed("not an answer in HTTP/1.1")
    headers: dict[str, str] = {}
    for line in lines:
        field = _FIELD(line)
        if field is None:
            raise Malformed("an invalid header")
        name, value = field[1].decode("ascii").lower(), field[2].rstrip(b" \t").decode("latin-1")
        if name in ("content-length", "transfer-encoding") and headers.get(name, value) != value:
            raise Malformed(f"two different values of {name}")
        headers[name] = value
    return int(status[1]), int(status[2]), headers
