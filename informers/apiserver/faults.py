"""Fault injection for tests: rules that make requests fail, wait or lose their answers.

:func:`informers.apiserver.rest.serve` obeys the rules.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from informers.apiserver.kinds.registry import VERBS
from informers.apiserver.requests.calls import Call
from informers.apiserver.requests.reviews import REVIEW
from informers.apiserver.requests.routes import RequestInfo

Cut: TypeAlias = Literal["", "before", "after"]
_FORBIDDEN = 403


class ConnectionCut(Exception):
    """The connection breaks: the client gets no answer, whether or not the request was carried out."""


@dataclass(slots=True)
class FaultRule:
    """What happens to requests that match. "" matches everything.

    :param resource: a plural.
    :param skip: matching requests to let pass first.
    :param times: requests to spoil; ``None`` for all that follow.
    :param probability: of spoiling a matching request.
    :param status: answer with this code; 0 to carry the request out. 403 is also what access reviews are
        answered by, which it strikes only when ``resource`` names them.
    :param retry_after: seconds, sent along with ``status``; 0 for none.
    :param delay: seconds before anything else happens.
    :param spread: up to so many more seconds, at random: requests overtake each other.
    :param cut: break the connection, before or after the request has been carried out.
    :param duplicate: carry the request out twice, as when a proxy sends it again; the second answer counts.
    :param stale: answer a read (``get``, the first page of a ``list``) from the state of so many revisions
        ago, as a cache that lags behind does.
    """

    verb: str = ""
    resource: str = ""
    namespace: str = ""
    name: str = ""
    subresource: str | None = None
    user: str = ""
    skip: int = 0
    times: int | None = None
    probability: float = 1.0
    status: int = 0
    reason: str = ""
    retry_after: int = 0
    delay: float = 0.0
    spread: float = 0.0
    cut: Cut = ""
    duplicate: bool = False
    stale: int = 0
    hits: int = field(default=0, init=False)
    """Requests spoiled so far."""

    def __post_init__(self) -> None:
        # A rule that never matches, or does nothing, makes a test that proves nothing.
        for word, known in ((self.verb, ("", *VERBS)), (self.cut, get_args(Cut))):
            if word not in known:
                raise ValueError(f"{word!r} must be one of {', '.join(filter(None, known))}")

    @property
    def certain(self) -> bool:
        """Whether it spoils the next request that matches, whatever chance says."""
        left = self.times is None or self.hits < self.times
        return left and not self.skip and self.probability >= 1

    def matches(self, info: RequestInfo, user: str) -> bool:
        """Whether the rule is about a request."""
        if info.type is REVIEW and self.status == _FORBIDDEN and not self.resource:
            # Who may do nothing may still ask.
            return False
        return (
            self.verb in ("", info.verb)
            and self.resource in ("", info.type.resource.plural)
            and self.namespace in ("", info.namespace)
            and self.name in ("", info.name)
            and self.subresource in (None, info.subresource)
            and self.user in ("", user)
        )


class Faults:
    """The rules in force; the first that wants a request has it."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._rules: list[FaultRule] = []

    @property
    def rules(self) -> Sequence[FaultRule]:
        """The rules in force, in the order they are asked."""
        return self._rules

    def add(self, rule: FaultRule) -> FaultRule:
        """Put a rule in force, after those that are there."""
        self._rules.append(rule)
        return rule

    def remove(self, rule: FaultRule) -> None:
        """Take a rule out of force; harmless when it is not."""
        if rule in self._rules:
            self._rules.remove(rule)

    def clear(self) -> None:
        """Behave again."""
        self._rules.clear()

    def wait(self, rule: FaultRule) -> float:
        """Seconds a spoiled request waits."""
        return rule.delay + (rule.spread * self._rng.random() if rule.spread else 0.0)

    def forbids(self, info: RequestInfo, user: str) -> bool:
        """Whether a request would be refused with 403 now. Nothing is counted."""
        first = next((rule for rule in self._rules if rule.certain and rule.matches(info, user)), None)
        return first is not None and first.status == _FORBIDDEN

    def strike(self, call: Call) -> FaultRule | None:
        """The rule that spoils this request, counted as hit."""
        for rule in self._rules:
            if not rule.matches(call.info, call.user):
                continue
            if rule.skip:
                rule.skip -= 1
                continue
            if rule.times is not None and rule.hits >= rule.times:
                continue
            if self._rng.random() < rule.probability:
                rule.hits += 1
                return rule
        return None
