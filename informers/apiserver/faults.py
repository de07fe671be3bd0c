"""Making the server misbehave on purpose: refusals, delays and lost answers, by rule.

:func:`serve` is :func:`informers.apiserver.rest.handle` for callers that let rules wait and cut.
"""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from informers.apiserver.errors import StatusError
from informers.apiserver.errors.refusals import not_found
from informers.apiserver.kinds.registry import VERBS
from informers.apiserver.reading.selection import shown
from informers.apiserver.requests.calls import Call, ObjectOutcome
from informers.apiserver.requests.routes import RequestInfo
from informers.apiserver.rest import Outcome, handle
from informers.apiserver.reviews import REVIEW
from informers.objects import ObjectKey

if TYPE_CHECKING:
    from informers.apiserver.core import ApiServer

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
                raise ValueError(f"{word!r} is none of {', '.join(filter(None, known))}")

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


_REASONS = {
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


async def serve(core: ApiServer, call: Call) -> Outcome:
    """Handle a request as the rules in force allow.

    :raises StatusError: every refusal, real or made up.
    :raises ConnectionCut: the client is to get no answer.
    """
    rule = core.faults.strike(call)
    if rule is None:
        return handle(core, call)
    if wait := core.faults.wait(rule):
        await asyncio.sleep(wait)
    if rule.cut == "before":
        raise ConnectionCut
    if rule.status:
        details = {"retryAfterSeconds": rule.retry_after} if rule.retry_after else None
        reason = rule.reason or _REASONS.get(rule.status, "")
        raise StatusError(rule.status, reason, f"made to fail with {rule.status}", details)
    if rule.duplicate:
        with suppress(StatusError):
            # The server keeps parts of a body; two objects must not share them.
            handle(core, replace(call, body=copy.deepcopy(call.body)))
    outcome = _stale(core, call, rule.stale) if rule.stale else handle(core, call)
    if rule.cut == "after":
        raise ConnectionCut
    return outcome


def _stale(core: ApiServer, call: Call, behind: int) -> Outcome:
    """The answer of some revisions ago, or of the oldest one that is known."""
    info = call.info
    shelf = core.store.shelf(info.type.storage)
    revision = max(core.store.revision - behind, shelf.oldest)
    state = shelf.snapshot(revision)
    if info.verb == "list" and "continue" not in info.query and state is not None:
        query = {**info.query, "resourceVersion": str(revision), "resourceVersionMatch": "Exact"}
        return handle(core, replace(call, info=replace(info, query=query)))
    if info.verb == "get" and state is not None:
        key = ObjectKey(info.namespace, info.name)
        found = next((one for one in state if one.key == key), None)
        if found is None:
            raise not_found(info.type.resource, info.name)
        answer = shown(info.type, found)
        return ObjectOutcome(200, answer.obj, answer)
    return handle(core, call)
