"""Patterns of users: RE2's dialect, a real server's words, and no text or pattern that takes long."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from informers.apiserver.schema import check_structural, compile_schema, cost
from informers.apiserver.schema.cel import Rule
from informers.apiserver.schema.patterns import PatternError, compiled
from informers.apiserver.values.quantity import parse

# As kube-apiserver 1.37.2 answered.
REFUSED = {
    "[a-": "missing closing ]: `[a-`",
    "(a": "missing closing ): `(a`",
    "a)": "unexpected ): `a)`",
    "*a": "missing argument to repetition operator: `*`",
    "a**": "invalid nested repetition operator: `**`",
    "a++": "invalid nested repetition operator: `++`",
    "a+?+": "invalid nested repetition operator: `+?+`",
    "a{1000}{1000}": "invalid nested repetition operator: `{1000}{1000}`",
    "[z-a]": "invalid character class range: `z-a`",
    "a\\": "trailing backslash at end of expression: ``",
    r"\1": r"invalid escape sequence: `\1`",
    r"\Z": r"invalid escape sequence: `\Z`",
    r"\E": r"invalid escape sequence: `\E`",
    r"\C": r"invalid escape sequence: `\C`",
    r"\\\C": r"invalid escape sequence: `\C`",
    r"[\C]": r"invalid escape sequence: `\C`",
    r"[a-\d]": r"invalid escape sequence: `\d`",
    r"\x{110000}": r"invalid escape sequence: `\x{110000`",
    "(?=a)": "invalid or unsupported Perl syntax: `(?=`",
    "(?#c)": "invalid or unsupported Perl syntax: `(?#`",
    "(?z)a": "invalid or unsupported Perl syntax: `(?z`",
    "(?P=n)": "invalid or unsupported Perl syntax: `(?P`",
    "a{1001}": "invalid repeat count: `{1001}`",
    "a{2,1}": "invalid repeat count: `{2,1}`",
    "((((a{100}){100}){100}){100})": "invalid repeat count: `{100}`",
    "[[:foo:]]": "invalid character class range: `[:foo:]`",
    r"\pX": r"invalid character class range: `\pX`",
    r"\p{Foo}": r"invalid character class range: `\p{Foo}`",
    "(?<a": "invalid named capture: `(?<a`",
    "(?P<>a)": "invalid named capture: `(?P<>`",
    "(" * 1200 + ")" * 1200: f"expression nests too deeply: `{'(' * 1200 + ')' * 1200}`",
}
TAKEN = {
    r"^\p{L}+$": ("Straße", "a1"),
    r"^\Qa.b\E$": ("a.b", "axb"),
    r"\Q\C": (r"\C", "C"),
    r"\\C": (r"\C", "C"),
    "^[[:alpha:]]+$": ("abc", "ab1"),
    r"^[\d-z]$": ("-", "y"),
    "(?<n>a)": ("a", "b"),
    "^a$": ("a", "a\n"),
    r"^\d$": ("1", "٣"),
    "(?i)^x$": ("X", "y"),
    r"^.{2}$": ("éé", "é"),
    "^*": ("", None),
    r"(\p{L}{1000}){1}": ("a" * 1000, "a"),
}


@pytest.mark.parametrize("pattern", REFUSED, ids=lambda text: text[:20])
def test_what_is_no_pattern_is_refused_in_the_words_of_a_real_server(pattern: str) -> None:
    raw = {"type": "object", "properties": {"v": {"type": "string", "pattern": pattern}}}
    why = f"must be a valid regular expression, but isn't: error parsing regexp: {REFUSED[pattern]}"
    assert check_structural(raw) == [f'properties[v].pattern: Invalid value: "{pattern}": {why}']


@pytest.mark.parametrize("pattern", TAKEN)
def test_the_dialect_is_that_of_a_real_server(pattern: str) -> None:
    matching, other = TAKEN[pattern]
    raw = {"type": "object", "properties": {"v": {"type": "string", "pattern": pattern}}}
    assert check_structural(raw) == []
    schema = compile_schema(raw)
    assert schema.validate({"v": matching}) == []
    if other is not None:
        (cause,) = schema.validate({"v": other})
        assert cause.message.endswith(f"v in body should match '{pattern}'")


def test_no_pattern_takes_long() -> None:
    # Each of these keeps an engine that backtracks busy for longer than the sun will shine.
    text = "a" * 100_000 + "!"
    raw = {"type": "object", "properties": {"v": {"type": "string", "pattern": "^(a+)+$"}}}
    assert compile_schema(raw).validate({"v": text})
    assert not Rule({"rule": "self.matches('^(a|a)*$')"}).holds(text, None)
    assert Rule({"rule": "self.find('^(a*)*$') == ''"}).holds(text, None)


def test_no_pattern_of_ours_takes_long_on_a_text_of_a_user() -> None:
    # A second for each of some thousand of these digits and names, if every way to split them were tried.
    with pytest.raises(ValueError, match="quantities must match"):
        parse("1" * 2_000_000 + "x")
    assert cost.cost_of("a." * 200_000, {}) == 1.0
    assert cost.cost_of("self.x[0].y.all(z, true)", {}) == 1.0


def test_a_pattern_that_only_evaluation_shows_to_be_none_fails_the_rule() -> None:
    from informers.apiserver.schema.cel import EvaluationError

    for text in ("self.matches(self)", "self.find(self) == ''"):
        with pytest.raises(EvaluationError, match=r"missing (closing )?\]"):
            Rule({"rule": text}).holds("[", None)


@given(st.text(alphabet="ab()[]{}*+?|\\^$.,0123-:QECpLz\ud800é", max_size=12))
def test_any_text_is_a_pattern_or_refused(pattern: str) -> None:
    try:
        compiled(pattern).search("abab")
    except PatternError as error:
        assert re.search(": `", str(error))
