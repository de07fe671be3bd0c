"""Ages as kubectl shows them."""

from __future__ import annotations

import pytest

from etl_operator.sandbox.http.printing.duration import age, human


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"), (119, "119s"), (120, "2m"), (125, "2m5s"), (599, "9m59s"), (600, "10m"), (3 * 3600, "3h"),
        (3 * 3600 + 60, "3h1m"), (47 * 3600, "47h"), (50 * 3600, "2d2h"), (9 * 86400, "9d"),
        (3 * 365 * 86400, "3y"), (9 * 365 * 86400 + 5, "9y"), (-5, "<invalid>"),
    ],
)  # fmt: skip
def test_ages(seconds: int, text: str) -> None:
    assert human(seconds) == text


def test_ages_of_timestamps() -> None:
    assert age("2027-01-01T00:00:00Z", 1_798_761_605.0) == "5s"
    assert (age(None, 0), age("nonsense", 0)) == ("<unknown>", "<invalid>")
