"""Answers of different servers, made comparable; bodies that refer to earlier answers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from tests.informers.apiserver.conversation.conversation import Ask

_UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_CURRENT = re.compile(r"current: \d+")


def filled(value: Any, kept: Mapping[str, str]) -> Any:
    """A body or query with what was kept from earlier answers."""
    if isinstance(value, Mapping):
        return {key: filled(below, kept) for key, below in value.items()}
    if isinstance(value, list):
        return [filled(below, kept) for below in value]
    if isinstance(value, str) and value.startswith("$"):
        return kept[value[1:]]
    return value


def keep(ask: Ask, answer: Any, kept: dict[str, str]) -> None:
    """Remember what later requests refer to."""
    if ask.keep and isinstance(answer, dict):
        metadata = answer.get("metadata", {})
        kept[ask.keep + "rv"] = metadata.get("resourceVersion", "")
        kept[ask.keep + "token"] = metadata.get("continue", "")


def decoded(body: bytes) -> Any:
    """An answer: an object, or a list of events."""
    lines = [json.loads(line) for line in body.decode().splitlines() if line]
    return lines[0] if len(lines) == 1 else lines


def comparable(value: Any, name: str = "") -> Any:
    """An answer without what every server chooses for itself, and with nulls as absent."""
    if name == "managedFields":
        return sorted((comparable(one) for one in value), key=json.dumps)
    if isinstance(value, dict):
        present = {key: below for key, below in sorted(value.items()) if below is not None}
        if not present.get("conditions", True):
            # A list that is there and empty, or null: to clients it is the same.
            del present["conditions"]
        return {key: comparable(below, key) for key, below in present.items()}
    if isinstance(value, list):
        return [comparable(below) for below in value]
    if name in ("resourceVersion", "continue"):
        return "…"
    if isinstance(value, str):
        return _CURRENT.sub("current: …", _TIME.sub("<time>", _UID.sub("<uid>", value)))
    return value


def unordered(answer: Any) -> Any:
    """A refusal without the order of its causes, which servers do not promise."""
    body = answer["body"]
    causes = (body.get("details") or {}).get("causes") if isinstance(body, dict) else None
    if not causes or len(causes) == 1 or body.get("reason") != "Invalid":
        return answer
    details = {**body["details"], "causes": sorted(causes, key=json.dumps)}
    # The sentence repeats the causes.
    message = body["message"].partition(" is invalid: ")[0]
    return {**answer, "body": {**body, "details": details, "message": message}}
