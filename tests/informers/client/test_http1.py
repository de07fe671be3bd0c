"""The reader of HTTP/1.1 answers: any cut of any answer gives the same, and nonsense is refused."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from informers.client.http1 import MAX_HEAD, MAX_SIZE_LINE, Malformed, ResponseParser

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"

bodies = st.lists(st.binary(min_size=1, max_size=40), max_size=6)
cuts = st.lists(st.integers(0, 600), max_size=12)
extensions = st.sampled_from([b"", b" ", b";a", b";a=b;c", b' ;name="quoted"'])
interims = st.lists(
    st.sampled_from([b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n"]), max_size=3
)


def cut(content: bytes, places: list[int]) -> list[bytes]:
    bounds = [0, *sorted(min(place, len(content)) for place in places), len(content)]
    return [content[start:end] for start, end in itertools.pairwise(bounds)]


def read(pieces: list[bytes], method: str = "GET") -> tuple[ResponseParser, bytes]:
    parser = ResponseParser(method)
    body = b""
    for piece in pieces:
        given_out = parser.feed(piece)
        assert b"" not in given_out, "an empty piece would be taken for the end"
        body += b"".join(given_out)
    return parser, body


@st.composite
def chunked(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """An answer in chunks, with all that may stand around them, and its body."""
    parts = draw(bodies)
    content = b"".join(draw(interims)) + CHUNKED
    for part in parts:
        size = f"{len(part):{draw(st.sampled_from(['x', 'X', '06x']))}}".encode()
        content += size + draw(extensions) + b"\r\n" + part + b"\r\n"
    content += b"0" + draw(extensions) + b"\r\n"
    content += draw(st.sampled_from([b"", b"Digest: a\r\n", b"A: 1\r\nB:\r\n"])) + b"\r\n"
    return content, b"".join(parts)


@given(chunked(), cuts)
def test_chunks_cut_anywhere(answer: tuple[bytes, bytes], places: list[int]) -> None:
    content, body = answer
    parser, seen = read(cut(content, places))
    assert (parser.status, parser.complete, parser.keep_alive, parser.excess) == (200, True, True, False)
    assert seen == body
    parser.end()


@given(chunked())
def test_a_part_is_never_taken_for_the_whole(answer: tuple[bytes, bytes]) -> None:
    content, body = answer
    for end in range(len(content)):
        parser, seen = read([content[:end]])
        assert not parser.complete
        assert body.startswith(seen)
        with pytest.raises(Malformed):
            parser.end()


@given(interims, st.binary(max_size=100), cuts, st.binary(max_size=3))
def test_a_counted_body(before: list[bytes], body: bytes, places: list[int], more: bytes) -> None:
    content = b"".join(before) + OK + b"content-LENGTH: %d \r\n\r\n%s" % (len(body), body)
    parser, seen = read(cut(content + more, places))
    assert (seen, parser.complete, parser.excess) == (body, True, bool(more))
    assert parser.headers == {"content-length": str(len(body))}


@given(st.binary(max_size=100), cuts)
def test_a_body_up_to_the_end_of_the_connection(body: bytes, places: list[int]) -> None:
    parser, seen = read(cut(OK + b"\r\n" + body, places))
    assert (seen, parser.complete, parser.keep_alive) == (body, False, False)
    parser.end()
    assert parser.complete


@given(st.binary(max_size=200), cuts)
def test_whatever_comes_is_read_or_refused_however_it_is_cut(content: bytes, places: list[int]) -> None:
    def outcome(pieces: list[bytes]) -> tuple[bytes, bool] | None:
        try:
            parser, seen = read([CHUNKED, *pieces])
        except Malformed:
            return None
        return seen, parser.complete

    whole, piecewise = outcome([content]), outcome(cut(content, places))
    assert whole == piecewise


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", b"200 OK"), ("GET", b"204 No Content"), ("GET", b"304 Not Modified")]
)
@pytest.mark.parametrize("framing", [b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b""])
def test_answers_without_a_body(method: str, status: bytes, framing: bytes) -> None:
    parser, seen = read([b"HTTP/1.1 " + status + b"\r\n" + framing + b"\r\n"], method)
    assert (seen, parser.complete, parser.keep_alive, parser.excess) == (b"", True, True, False)


@pytest.mark.parametrize(
    ("head", "kept"),
    [
        (b"HTTP/1.1 200 OK\r\n", True),
        (b"HTTP/1.1 200\r\nConnection: x, Close\r\n", False),
        (b"HTTP/1.0 200 OK\r\n", False),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n", True),
    ],
)
def test_whether_the_connection_goes_on(head: bytes, kept: bool) -> None:
    assert read([head + b"Content-Length: 0\r\n\r\n"])[0].keep_alive is kept


@pytest.mark.parametrize(
    "content",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 200OK\r\n\r\n",
        b"HTTP/1.1 999 No\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        OK + b"no colon\r\n\r\n",
        OK + b"Name : x\r\n\r\n",
        OK + b"A: b\r\n folded\r\n\r\n",
        OK + b"A: b\x00\r\n\r\n",
        OK + b"A: b\nContent-Length: 1\r\n\r\n",
        OK + b"Content-Length: -1\r\n\r\n",
        OK + b"Content-Length: 1_0\r\n\r\n",
        OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        OK + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        OK + b"A: " + b"x" * MAX_HEAD,
        OK + b"A: " + b"x" * MAX_HEAD + b"\r\n\r\n",
        CHUNKED + b"\r\n",
        CHUNKED + b"-1\r\n",
        CHUNKED + b"0x1\r\n",
        CHUNKED + b"1_0\r\n",
        CHUNKED + b"1\nx\r\n",
        CHUNKED + b"f" * 13 + b"\r\n",
        CHUNKED + b"1\r\nxy\r\n",
        CHUNKED + b"1\r\nx\n",
        CHUNKED + b"1;" + b"x" * MAX_SIZE_LINE,
        CHUNKED + b"0\r\nno trailer\r\n\r\n",
        CHUNKED + b"0\r\nA: " + b"x" * MAX_HEAD,
    ],
)
@pytest.mark.parametrize("size", [1, 1000, 10**6])
def test_nonsense_is_refused(content: bytes, size: int) -> None:
    with pytest.raises(Malformed):
        read([content[at : at + size] for at in range(0, len(content), size)])


def test_interim_answers_without_number() -> None:
    parser, seen = read([b"HTTP/1.1 100 Continue\r\n\r\n" * 5000 + OK + b"Content-Length: 1\r\n\r\nx"])
    assert (parser.status, seen) == (200, b"x")
