"""Known differences between the embedded server and a real one, with reasons: the only list of them.

The conformance suite and the tests on recorded answers mark these checks as expected failures, so that an
entry that is no longer true fails. ``docs/generate.py`` writes the list into ``docs/sandbox.md``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest


@dataclass(frozen=True, slots=True)
class Deviation:
    """One difference.

    :param reason: a sentence without its full stop, as users read it.
    :param scenarios: names of the scenarios of ``tests/informers/apiserver/scenarios`` that show it.
    :param asks: titles of requests of the conversation that show it, see
        ``tests/informers/apiserver/conversation``.
    """

    reason: str
    scenarios: tuple[str, ...] = ()
    asks: tuple[str, ...] = ()


DEVIATIONS = (
    Deviation(
        "the error for a change of a PersistentVolumeClaim's spec does not contain the diff of Go values",
        ("update: claim modes",),
    ),
    Deviation(
        "VolumeAttributesClasses can be deleted while they are used: they have no finalizer",
        ("passive: attributes class", "passive: attributes class changes"),
    ),
)

NOT_SERVED: Mapping[str, str] = {
    "v1/nodes/proxy": "there is no kubelet's own endpoint",
    "v1/pods/attach": "there is no container runtime",
    "v1/pods/ephemeralcontainers": "there is no container runtime",
    "v1/pods/exec": "there is no container runtime",
    "v1/pods/portforward": "there is no container runtime",
    "v1/pods/proxy": "requests are not forwarded",
    "v1/pods/resize": "resources of a running process cannot be changed",
    "v1/services/proxy": "requests are not forwarded",
}
"""What a real server with default settings serves and the embedded one refuses, and why."""


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
