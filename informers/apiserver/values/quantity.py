"""Quantities such as ``1500m`` or ``1.5Gi``: their value, and their canonical form."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import Literal, NamedTuple

# Digits are never given back: both parts could take them, and a long number would be tried in every way.
_PATTERN = re.compile(r"([+-]?)(\d*+)(?:\.(\d*+))?([eEinumkKMGTP]*[-+]?\d*)", re.ASCII)
_MOST_DIGITS = 4000
"""Below what Python converts. A real server takes more, and minutes for a million."""
_SHOWN = "^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$"
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_OF_DECIMAL = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_OF_BINARY = {exponent: suffix for suffix, exponent in _BINARY.items()}
_EXPONENT = re.compile(r"[eE][-+]?\d+", re.ASCII)
_MOST_BINARY = 2**63 - 1
_NANO = 10**9
# What servers can hold in a machine word, they keep as written if it looks canonical.
_WORD_DIGITS = 18
_WORD_DIGITS_BINARY = 14


class Quantity(NamedTuple):
    """A parsed quantity.

    :param text: the form a server stores and answers.
    """

    value: Fraction
    text: str


@lru_cache(maxsize=4096)
def canonical(text: str | float) -> str:
    """The form a server stores a quantity in: ``1000m`` is ``1``, ``1024Mi`` is ``1Gi``.

    :raises ValueError: no quantity; the message is the server's.
    """
    return parse(text).text


@lru_cache(maxsize=4096)
def parse(text: str | float) -> Quantity:
    """Read a quantity; JSON numbers are quantities too. Values finer than a nano are rounded away from zero.

    :raises ValueError: no quantity; the message is the server's.
    """
    text = str(text).strip()
    found = _PATTERN.fullmatch(text) if text else None
    if found is None:
        raise ValueError(f"quantities must match the regular expression '{_SHOWN}'")
    sign, whole, fraction, suffix = found.groups()
    whole = (whole or "").lstrip("0") or "0"
    fraction = fraction or ""
    if len(whole) + len(fraction) > _MOST_DIGITS:
        raise ValueError("unable to parse numeric part of quantity")
    form, factor, exponent = _suffix(suffix)
    digits = int(whole + fraction)
    size = Fraction(digits, 10 ** len(fraction)) * factor
    if _kept(form, whole, fraction, exponent, digits):
        return Quantity(-size if sign == "-" else size, text)
    if size * _NANO != int(size * _NANO):
        size = Fraction(int(size * _NANO) + 1, _NANO)
    if form == "binary":
        size = min(size, Fraction(_MOST_BINARY))
        if size.denominator != 1 or size < 1024:
            # Binary suffixes could not say this without losing something.
            form = "decimal"
    value = -size if sign == "-" else size
    return Quantity(value, _written(value, form))


_Form = Literal["decimal", "binary", "exponent"]


def _suffix(suffix: str) -> tuple[_Form, Fraction, int]:
    if suffix in _DECIMAL:
        return "decimal", _power(10, _DECIMAL[suffix]), _DECIMAL[suffix]
    if suffix in _BINARY:
        return "binary", _power(2, _BINARY[suffix]), _BINARY[suffix]
    if _EXPONENT.fullmatch(suffix):
        exponent = int(suffix[1:6])
        if len(suffix) < 6 and abs(exponent) <= 1000:
            return "exponent", _power(10, exponent), exponent
    raise ValueError("unable to parse quantity's suffix")


def _power(base: int, exponent: int) -> Fraction:
    return Fraction(base) ** exponent


def _kept(form: _Form, whole: str, fraction: str, exponent: int, digits: int) -> bool:
    """Whether a server keeps the text as it is, because at a glance it looks canonical."""
    if form == "binary":
        room = _WORD_DIGITS_BINARY - len(whole) - exponent * 3 // 10
        return not fraction and room >= 0 and digits % 8 != 0
    scale = exponent - len(fraction)
    if len(whole) + len(fraction) > _WORD_DIGITS or scale < -9:
        return False
    return scale % 3 == 0 and not (whole + fraction).endswith("000") and whole != "0"


def _written(value: Fraction, form: _Form) -> str:
    if value == 0:
        return "0"
    if form == "binary":
        number, exponent = int(value), 0
        while number % 1024 == 0 and exponent < 60:
            number, exponent = number // 1024, exponent + 10
        return f"{number}{_OF_BINARY.get(exponent, '')}"
    number, exponent = int(value * _NANO), -9
    while number % 1000 == 0 and (form == "exponent" or exponent < 18):
        number, exponent = number // 1000, exponent + 3
    if form == "exponent":
        return f"{number}e{exponent}" if exponent else str(number)
    return f"{number}{_OF_DECIMAL[exponent]}"
