from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from informers.apiserver.values.quantity import canonical, parse


@pytest.mark.parametrize(
    ("text", "stored"),
    [  # As resource.Quantity of a real server writes them.
        ("0", "0"),
        ("0Mi", "0"),
        ("1000m", "1"),
        ("1500m", "1500m"),
        ("0.5", "500m"),
        ("1.5", "1500m"),
        ("1000", "1k"),
        ("1000000", "1M"),
        ("1024", "1024"),
        ("1024Mi", "1Gi"),
        ("1536Mi", "1536Mi"),
        ("1.5Gi", "1536Mi"),
        ("0.5Ki", "512"),
        ("1025Ki", "1025Ki"),
        ("2048Ki", "2Mi"),
        ("1e3", "1e3"),
        ("1000e3", "1e6"),
        ("1E", "1E"),
        ("100n", "100n"),
        ("0.1n", "1n"),
        ("-1000m", "-1"),
        ("+1", "+1"),
        ("1.500", "1.500"),
        (".5", "500m"),
        ("5.", "5."),
        (1, "1"),
        (0.5, "500m"),
        (" 1Gi ", "1Gi"),
        ("0.1Ki", "102400m"),
    ],
)
def test_the_stored_form(text: str | float, stored: str) -> None:
    assert canonical(text) == stored


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must match the regular expression"),
        ("much", "must match the regular expression"),
        ("1 Gi", "must match the regular expression"),
        ("1Gi2x", "must match the regular expression"),
        ("1K", "unable to parse quantity's suffix"),
        ("1mm", "unable to parse quantity's suffix"),
        ("1e", "unable to parse quantity's suffix"),
    ],
)
def test_no_quantities(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        canonical(text)


SUFFIXES = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
    "": Fraction(1),
    "k": Fraction(1000),
    "M": Fraction(10**6),
    "G": Fraction(10**9),
    "Ki": Fraction(2**10),
    "Mi": Fraction(2**20),
    "Gi": Fraction(2**30),
    "e2": Fraction(100),
    "e-1": Fraction(1, 10),
}
NUMBERS = st.decimals(0, 10**7, places=3).map(lambda number: format(number.normalize(), "f"))


@given(NUMBERS, st.sampled_from(sorted(SUFFIXES)), st.sampled_from(["", "-", "+"]))
def test_the_stored_form_means_the_same_and_is_stable(number: str, suffix: str, sign: str) -> None:
    text = sign + number + suffix
    exact = Fraction(Decimal(number)) * SUFFIXES[suffix] * (-1 if sign == "-" else 1)
    found = parse(text)
    # Finer than a nano is rounded away from zero.
    assert abs(exact) <= abs(found.value) < abs(exact) + Fraction(1, 10**9)
    again = parse(found.text)
    assert (again.text, again.value) == (found.text, found.value)


@given(st.integers(0, 2**40), st.sampled_from(["Ki", "Mi", "Gi"]))
def test_binary_quantities_use_the_largest_suffix(number: int, suffix: str) -> None:
    stored = canonical(f"{number * 8}{suffix}")
    assert stored == "0" or not any(
        stored.endswith(one) and int(stored.removesuffix(one)) % 1024 == 0 for one in ("Ki", "Mi", "Gi", "Ti")
    )
