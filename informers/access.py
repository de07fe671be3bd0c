"""Preflight: ask the API server, before anybody waits in vain, whether it lets us do what we will do.

A ``SelfSubjectAccessReview`` per verb and place. Everybody who may log in may ask these
(``system:basic-user``), and nothing is stored. The answers name the verb and the resource that are missing,
where a watch that is refused would only say so of the first thing it tried.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from informers.client import Client, HttpRequest, Transport
from informers.client.client import error_of
from informers.client.requests import encode
from informers.clock import Clock
from informers.errors import NotFound, RuntimeFault, TransportError, log_level
from informers.objects import Object, Resource

log = logging.getLogger(__name__)

REVIEW = Resource(
    "authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", namespaced=False
)

READ = ("list", "watch")
"""What an informer does."""

AGAIN = 30.0
"""Seconds until what was refused, or could not be asked, is asked again."""

_TIMEOUT = 10.0
_AT_ONCE = 8
_SHOWN = 8
"""Resources a problem names before it counts the rest."""


@dataclass(frozen=True, slots=True)
class Access:
    """What someone does with a resource.

    :param verbs: as in a role's rule: ``get``, ``list``, ``watch``, ``create``, ``update``, ``patch``,
        ``delete``.
    :param namespaces: where; all of them by default.
    :param subresource: such as ``status``; the resource itself by default.
    :param name: one object alone; all by default.
    """

    resource: Resource
    verbs: Sequence[str]
    namespaces: Sequence[str] = ()
    subresource: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Right:
    """One verb in one place: what one review asks about."""

    verb: str
    resource: Resource
    namespace: str = ""
    subresource: str = ""
    name: str = ""

    def __str__(self) -> str:
        return f"{self.verb} {self.what}"

    @property
    def what(self) -> str:
        """Everything but the verb."""
        plural, dot, group = str(self.resource).partition(".")
        what = f"{plural}/{self.subresource}{dot}{group}" if self.subresource else str(self.resource)
        named = f' "{self.name}"' if self.name else ""
        if not self.resource.namespaced:
            return f"{what}{named}"
        where = f"in namespace {self.namespace}" if self.namespace else "in all namespaces"
        return f"{what}{named} {where}"


def rights(accesses: Iterable[Access]) -> list[Right]:
    """Every single question, once, in order."""
    found: dict[Right, None] = {}
    for access in accesses:
        scopes = access.namespaces if access.resource.namespaced and access.namespaces else ("",)
        for namespace in scopes:
            for verb in access.verbs:
                right = Right(verb, access.resource, namespace, access.subresource, access.name)
                found[right] = None
    return list(found)


class Preflight:
    """Asks for a list of rights until all of them are granted, and says which are not.

    :param client: its transport is used past its fence: the questions change nothing, and a standby asks too.
    """

    def __init__(self, client: Client, accesses: Iterable[Access], *, clock: Clock) -> None:
        self._transport = client.transport
        self._clock = clock
        self._open = rights(accesses)
        """What is not known to be granted."""
        self._missing: dict[Right, str] = {}
        self._trouble = ""

    @property
    def missing(self) -> Sequence[Right]:
        """What the server has said no to."""
        return tuple(self._missing)

    def health(self) -> str | None:
        """What is missing, for a readiness check. What could not be asked is no failure of ours: then the
        caches have a problem of their own to show."""
        missing = self._sentences()
        if not missing:
            return None
        more = len(missing) - _SHOWN
        return f"not allowed to {'; '.join(missing[:_SHOWN])}" + (f"; and {more} more" if more > 0 else "")

    def _sentences(self) -> list[str]:
        """What is missing, one for every resource and place."""
        verbs: dict[str, list[str]] = {}
        for right, reason in self._missing.items():
            verbs.setdefault(f"{right.what}{reason}", []).append(right.verb)
        return [f"{', '.join(names)} {what}" for what, names in verbs.items()]

    async def run(self) -> None:
        """Ask, and ask again what was refused, until all is granted. Ends then, or when nobody can answer."""
        while self._open:
            try:
                await self._round()
            except NotFound:
                log.warning("the API server has no SelfSubjectAccessReviews; permissions are not checked")
                return
            except RuntimeFault as error:
                log.log(
                    logging.DEBUG if str(error) == self._trouble else log_level(error, logging.WARNING),
                    "permissions cannot be checked: %s",
                    error,
                )
                self._trouble = str(error)
            if self._open:
                await asyncio.sleep(AGAIN)

    async def _round(self) -> None:
        """Ask everything that is open. What was answered counts, also when something else could not be asked.

        :raises informers.errors.RuntimeFault: why something could not be asked.
        """
        before = dict(self._missing)
        gate = asyncio.Semaphore(_AT_ONCE)

        async def ask(right: Right) -> str | None:
            async with gate:
                return await self._ask(right)

        asked = self._open
        answers = await asyncio.gather(*map(ask, asked), return_exceptions=True)
        failures: list[BaseException] = []
        self._open = []
        for right, answer in zip(asked, answers, strict=True):
            if answer is None:
                self._missing.pop(right, None)
                continue
            self._open.append(right)
            if isinstance(answer, BaseException):
                failures.append(answer)
            else:
                self._missing[right] = answer
        if self._missing != before:
            self._report()
        if failures:
            raise failures[0]
        self._trouble = ""

    def _report(self) -> None:
        if self._missing:
            log.error("not allowed to %s", "; ".join(self._sentences()))
        else:
            log.info("all permissions are granted now")

    async def _ask(self, right: Right) -> str | None:
        """``None`` when it is granted, else the server's reason in parentheses, or ""."""
        status = await review(self._transport, REVIEW, _question(right), self._clock)
        if status.get("allowed"):
            return None
        reason = str(status.get("reason") or "")
        return f" ({reason})" if reason else ""


async def review(transport: Transport, kind: Resource, spec: Object, clock: Clock) -> Object:
    """Ask a question of one of the review kinds; the status of the answer. Nothing is stored anywhere.

    :raises informers.errors.RuntimeFault: when there is no answer.
    """
    body = {"apiVersion": kind.api_version, "kind": kind.kind, "spec": spec}
    response = await transport.request(HttpRequest("POST", kind.path(), body=encode(body), timeout=_TIMEOUT))
    if not 200 <= response.status < 300:
        raise error_of(response, clock)
    try:
        answer = msgspec.json.decode(response.body, type=dict[str, Any])
    except (ValueError, RecursionError) as error:
        raise TransportError(f"the answer to a {kind.kind} is not JSON: {error}") from error
    status: Object = answer.get("status") or {}
    return status


def _question(right: Right) -> Object:
    attributes = {
        "namespace": right.namespace,
        "verb": right.verb,
        "group": right.resource.group,
        "version": right.resource.version,
        "resource": right.resource.plural,
        "subresource": right.subresource,
        "name": right.name,
    }
    return {"resourceAttributes": {name: value for name, value in attributes.items() if value}}
