"""Tokens of service accounts and of the administrator."""

from __future__ import annotations

from pathlib import Path

from etl_operator.sandbox.http.access.tokens import Tokens


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def test_tokens_end_with_their_time_their_account_and_their_key(tmp_path: Path) -> None:
    clock, accounts = Clock(), {("ns", "robot"): "uid-1"}
    tokens = Tokens(tmp_path, lambda namespace, name: accounts.get((namespace, name)), clock)
    token = tokens.issue("ns", "robot", "uid-1", seconds=600).token
    found = tokens.identify(token)
    assert found is not None and found.name == "system:serviceaccount:ns:robot"
    assert "system:serviceaccounts:ns" in found.groups
    assert tokens.identify(token, ["another-audience"]) is None
    assert tokens.identify(token[:-2] + ("AA" if token[-2:] != "AA" else "BB")) is None
    assert tokens.identify("é") is None
    again = Tokens(tmp_path, lambda namespace, name: accounts.get((namespace, name)), clock)
    assert again.identify(token) == found
    assert again.identify(tokens.admin) is not None
    assert Tokens(None, lambda *_: "uid-1", clock).identify(token) is None
    accounts["ns", "robot"] = "uid-2"
    assert tokens.identify(token) is None
    accounts["ns", "robot"] = "uid-1"
    clock.now += 600
    assert tokens.identify(token) is None
