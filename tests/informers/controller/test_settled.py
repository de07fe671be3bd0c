"""What was compared once need not be compared again while neither side moves."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from informers.controller.settled import Settled
from informers.views.view import View, view_of_object

WISH = {"spec": {"replicas": 3}}


def observed(uid: str = "u", version: str = "1") -> View:
    meta = {"name": "x", "namespace": "n", "uid": uid, "resourceVersion": version}
    view = view_of_object({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta})
    assert view is not None
    return view


def test_nothing_is_settled_before_it_was_remembered() -> None:
    assert not Settled().holds("child", WISH, observed())


@pytest.mark.parametrize(
    ("child", "wish", "view", "holds"),
    [
        ("child", WISH, observed(), True),
        ("child", copy.deepcopy(WISH), observed(), True),
        ("other", WISH, observed(), False),
        ("child", {"spec": {"replicas": 4}}, observed(), False),
        ("child", WISH, observed(version="2"), False),
        ("child", WISH, observed(uid="recreated"), False),
    ],
)
def test_it_holds_while_neither_side_moves(child: str, wish: Any, view: View, holds: bool) -> None:
    settled = Settled()
    settled.remember("child", WISH, observed())
    assert settled.holds(child, wish, view) is holds


def test_what_is_forgotten_is_compared_again() -> None:
    settled = Settled()
    settled.remember("child", WISH, observed())
    assert "child" in settled
    settled.forget("child")
    settled.forget("never known")
    assert "child" not in settled
    assert not settled.holds("child", WISH, observed())
