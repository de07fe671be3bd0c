from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from informers.apiserver.values import names

LONG = "a" * 64


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (
            names.dns_label,
            ["a", "1a", "a-b", "a" * 63],
            ["", "A", "-a", "a-", "a.b", "a_b", LONG, "ä", "a\n"],
        ),
        (names.dns_subdomain, ["a", "a.b", "1.2", "a" * 253], ["", "a..b", ".a", "a.", "A.b", "a" * 254]),
        (names.dns_1035_label, ["a", "a1", "a-b"], ["1a", "a.b", "", "-a", "a" * 64]),
        (names.path_segment, ["a:b", "A b", "...", ""], [".", "..", "a/b", "a%b"]),
        (
            names.label_key,
            ["a", "A_b.c", "e.com/a"],
            ["", "/a", "e.com/", "a/b/c", "E.com/a", "-a", LONG],
        ),
        (names.label_value, ["", "a", "A_b.c", "a" * 63], ["-", "a b", "a/b", "a" * 64, "a."]),
        (names.config_key, ["a", "A_b.c-d", ".a", "-"], ["", ".", "..", "..a", "a/b", "a b", "a" * 254]),
        (
            names.port_name,
            ["http", "a1", "1a", "a" * 15],
            ["", "1", "A", "a--b", "-a", "a-", LONG, "a_b"],
        ),
    ],
)
def test_names(check: object, good: list[str], bad: list[str]) -> None:
    assert callable(check)
    assert [text for text in good if check(text)] == []
    assert [text for text in bad if not check(text)] == []


def test_ports() -> None:
    assert names.port_number(1) == names.port_number(65535) == []
    assert names.port_number(0) == names.port_number(65536) == ["must be between 1 and 65535, inclusive"]


def test_a_label_that_is_only_too_long_or_dotted_says_so() -> None:
    assert names.dns_label("a" * 64) == ["must be no more than 63 bytes"]
    assert names.dns_label("a.b") == ["must not contain dots"]


def test_annotations_are_free_but_not_endless() -> None:
    assert not list(names.check_annotations({"E.com/a": "any thing\n" * 1000}, "metadata.annotations"))
    (cause,) = names.check_annotations({"a": "x" * names.ANNOTATIONS_MAX}, "metadata.annotations")
    assert (cause.reason, cause.message) == (
        "FieldValueTooLong",
        "Too long: may not be more than 262144 bytes",
    )
    (cause,) = names.check_annotations({"a b": ""}, "metadata.annotations")
    assert cause.message.startswith('Invalid value: "a b": name part must consist of')


@given(st.text(max_size=8))
def test_every_label_is_a_subdomain_and_a_label_value(text: str) -> None:
    if not names.dns_label(text):
        assert not names.dns_subdomain(text)
        assert not names.label_value(text)
        assert not names.label_key(text)
    if not names.dns_1035_label(text):
        assert not names.dns_label(text)
