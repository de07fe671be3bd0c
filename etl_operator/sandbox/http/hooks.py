"""Fault rules and the journal of writes, for whoever tests an operator against the sandbox.

Over HTTP, for an administrator:

- ``GET /sandbox/writes?since=REVISION``: the writes after a revision, oldest first.
- ``GET /sandbox/faults``: the rules in force, with how often each has struck.
- ``POST /sandbox/faults``: one rule, or a list of them, as objects; they are added to those in force.
- ``DELETE /sandbox/faults``: behave again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import yaml

from informers.apiserver.core import ApiServer
from informers.apiserver.errors import StatusError
from informers.apiserver.faults import FaultRule

PREFIX = "/sandbox/"

_REVISION = re.compile(r"[0-9]{1,19}")

_FIELDS = {one.name: one for one in fields(FaultRule) if one.init}
_READERS: Mapping[str, Callable[[Any], Any]] = {
    "skip": int,
    "times": int,
    "stale": int,
    "status": int,
    "retry_after": int,
    "probability": float,
    "delay": float,
    "spread": float,
    "duplicate": lambda value: {"true": True, "false": False}[str(value).lower()],
}
_EFFECTS = ("status", "delay", "spread", "cut", "duplicate", "stale")
_CUTS = ("", "before", "after")


def fault_rule(raw: Any) -> FaultRule:
    """A rule from plain values.

    :param raw: the fields of :class:`informers.apiserver.faults.FaultRule`; numbers may be texts.
    :raises ValueError: what makes no sense, in words.
    """
    if not isinstance(raw, Mapping):
        raise ValueError(f"a fault rule must be a mapping with the fields {', '.join(_FIELDS)}, not {raw!r}")
    unknown = sorted(set(map(str, raw)) - set(_FIELDS))
    if unknown:
        raise ValueError(
            f"unknown fields of a fault rule: {', '.join(unknown)}; known fields: {', '.join(_FIELDS)}"
        )
    found: dict[str, Any] = {}
    for name, value in raw.items():
        try:
            found[name] = _READERS.get(name, str)(value)
        except (KeyError, TypeError, ValueError):
            raise ValueError(f"fault rule: {name} has the invalid value {value!r}") from None
    if found.get("cut", "") not in _CUTS:
        raise ValueError(f"fault rule: cut must be before or after, not {found['cut']!r}")
    rule = FaultRule(**found)
    if rule == FaultRule(**{name: value for name, value in found.items() if name not in _EFFECTS}):
        raise ValueError(f"fault rule: set at least one of {', '.join(_EFFECTS)}")
    if rule.status and not 400 <= rule.status < 600:
        raise ValueError(f"fault rule: status must be from 400 to 599, not {rule.status}")
    return rule


def fault_rules(text: str) -> list[FaultRule]:
    """Rules as the command line takes them.

    :param text: a rule, such as ``verb=update,resource=leases,status=500,times=3``, or the name of a YAML
        file with a list of rules.
    :raises ValueError: what makes no sense, in words.
    """
    if "=" in text:
        pairs = [pair.partition("=") for pair in text.split(",")]
        return [fault_rule({name.strip(): value.strip() for name, _, value in pairs})]
    try:
        raw = yaml.safe_load(Path(text).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"cannot read fault rules from the file {text}: {error}") from None
    return [fault_rule(one) for one in (raw if isinstance(raw, list) else [raw])]


class Hooks:
    """What is behind :data:`PREFIX`."""

    def __init__(self, core: ApiServer) -> None:
        self._core = core

    def answer(self, method: str, path: str, query: Mapping[str, str], body: Any) -> Any:
        """The answer to a request that may be made.

        :raises StatusError: 404, 405, and 400 for a body or parameter that makes no sense.
        """
        what = path.removeprefix(PREFIX)
        if what == "writes" and method == "GET":
            return self._writes(query)
        if what != "faults":
            raise StatusError(
                404 if what != "writes" else 405, "NotFound", f"the sandbox does not serve {path}"
            )
        faults = self._core.faults
        if method == "POST":
            for rule in _rules_in(body):
                faults.add(rule)
        elif method == "DELETE":
            faults.clear()
        elif method != "GET":
            raise StatusError(405, "MethodNotAllowed", "fault rules support only GET, POST and DELETE")
        return {"faults": [asdict(rule) for rule in faults.rules]}

    def _writes(self, query: Mapping[str, str]) -> Any:
        since = query.get("since", "0")
        if set(query) - {"since"} or not _REVISION.fullmatch(since):
            raise StatusError(400, "BadRequest", "the only parameter of writes is since=REVISION")
        records = self._core.journal.since(int(since))
        return {
            "revision": self._core.store.revision,
            "writes": [{**one._asdict(), "resource": str(one.resource)} for one in records],
        }


def _rules_in(body: Any) -> list[FaultRule]:
    try:
        return [fault_rule(one) for one in (body if isinstance(body, list) else [body])]
    except ValueError as error:
        raise StatusError(400, "BadRequest", str(error)) from None
