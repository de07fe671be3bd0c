"""Base64 as Go reads it; a real server's answers to single texts: ``e2e/conformance/test_bytes.py``."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from informers.apiserver.values.gobase64 import rewritten


@given(st.binary(max_size=40), st.lists(st.tuples(st.integers(0, 60), st.sampled_from("\r\n"))))
def test_line_breaks_anywhere_change_nothing(data: bytes, breaks: list[tuple[int, str]]) -> None:
    plain = text = base64.b64encode(data).decode()
    for place, character in breaks:
        text = text[:place] + character + text[place:]
    assert rewritten(text) == plain


@given(st.text(alphabet="YWJj=\n\r +/_\u00e9", max_size=14))
def test_what_is_taken_is_written_in_one_way_and_the_rest_refused(text: str) -> None:
    try:
        written = rewritten(text)
    except ValueError as error:
        place = int(str(error).removeprefix("illegal base64 data at input byte "))
        assert 0 <= place <= len(text.encode())
        return
    assert rewritten(written) == written
    assert base64.b64encode(base64.b64decode(written, validate=True)).decode() == written


def test_the_place_of_a_mistake_is_counted_in_bytes_as_sent() -> None:
    with pytest.raises(ValueError, match=r"^illegal base64 data at input byte 6$"):
        rewritten("YW\n\nJj!")
