"""Where the embedded server is known to answer otherwise than a real one, and why: the one list of it.

The conformance suite and the tests on recorded answers mark these checks as expected failures, so that an
entry which is no longer true fails; ``docs/generate.py`` writes the list into ``docs/sandbox.md``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pytest


@dataclass(frozen=True, slots=True)
class Deviation:
    """One thing that is different.

    :param reason: a sentence without its full stop, as users read it.
    :param scenarios: names of the scenarios of ``tests/apiserver_rules`` that show it.
    :param asks: titles of requests of the conversation of ``tests/apiserver_core`` that show it.
    """

    reason: str
    scenarios: tuple[str, ...] = ()
    asks: tuple[str, ...] = ()


DEVIATIONS = (
    Deviation(
        "a number written with a point and nothing behind it (`0.0`) is taken for a whole one",
        ("misfit: whole number with a point",),
    ),
    Deviation(
        "a fresh definition has an empty list of conditions instead of null",
        ("definition: fine", "definition: good rule"),
    ),
    Deviation(
        "what is wrong with a regular expression is said in other words",
        ("definition: no regular expression",),
    ),
    Deviation(
        "validation rules are compiled without the types of the schema",
        ("definition: rule about nothing", "definition: rule that is no condition"),
    ),
    Deviation(
        "an empty map that is left when a list in it is dropped is kept",
        ("ownership: empty list map dropped",),
    ),
    Deviation("a default of a wrong type has the reason of any wrong value", ("definition: wrong default",)),
    Deviation("a key of a list that Go would fill with zero is asked for", ("apply: missing key",)),
    Deviation(
        "what a new type of service makes meaningless is dropped before ownership is noted, not after",
        ("update: service closed on nodes", "update: service made a name"),
    ),
    Deviation(
        "lists and times that a real server shows as null when they are empty are left out",
        (
            "create: event",
            "create: new event",
            "update: role rules",
            "update: slice endpoints",
            "update: slice type",
        ),
    ),
    Deviation(
        "claims are not protected by a finalizer while pods use them",
        ("create: claim", "update: claim modes"),
    ),
    Deviation(
        "an event that is refused for what it misses is called by its group as well",
        ("create: new event without much",),
    ),
    Deviation(
        "a strict patch with unknown fields is refused without showing the whole object",
        ("request: strict patch",),
    ),
    Deviation(
        "refusals that show a real server's own Go types are worded otherwise, with the same code and reason",
        asks=("a list", "other kind", "other version", "update of another uid"),
    ),
)


def marked(names: Iterable[str], kind: str, *, expected: bool = True) -> list[Any]:
    """Parameters for a test, those of known deviations marked.

    :param kind: ``scenarios`` or ``asks``.
    :param expected: whether deviations are expected; they are not of a real server.
    """
    reasons = {name: one.reason for one in DEVIATIONS for name in getattr(one, kind)}
    return [
        pytest.param(name, id=name, marks=pytest.mark.xfail(strict=True, reason=reasons[name]))
        if expected and name in reasons
        else pytest.param(name, id=name)
        for name in names
    ]
