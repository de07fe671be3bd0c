"""Service account tokens in projected volumes: asked for, and renewed long before they end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from etl_operator.sandbox.loops.kinds import SERVICE_ACCOUNT
from informers.client import Client
from informers.clock import Clock
from informers.objects import Object

_DEFAULT_SECONDS = 3600
_RENEWED_AFTER = 0.8
"""The part of its life after which a token is renewed, as the kubelet does."""
_SOONEST = 1.0
"""Seconds until a renewal that failed is tried again."""


class AccountTokens:
    """The tokens of one pod, bound to it.

    :param pod: with its name, uid and service account.
    """

    def __init__(self, client: Client, clock: Clock, pod: Object) -> None:
        self._client = client
        self._clock = clock
        self._pod = pod
        self._held: dict[tuple[str, int], tuple[str, float]] = {}

    def token(self, source: Mapping[str, Any]) -> str:
        """The token of a volume's ``serviceAccountToken``; :meth:`renew` has to be called before."""
        return self._held[_wanted(source)][0]

    def due_in(self) -> float | None:
        """Seconds until a token has to be renewed; ``None`` while there is none."""
        due = min((renew_at for _, renew_at in self._held.values()), default=None)
        return None if due is None else max(_SOONEST, due - self._clock.time())

    async def renew(self) -> None:
        """Ask for the tokens that are missing or due.

        :raises informers.errors.RuntimeFault: when the server gives none; those there are stay.
        """
        for wanted in {_wanted(source) for source in _sources(self._pod)}:
            held = self._held.get(wanted)
            if held is None or held[1] <= self._clock.time():
                self._held[wanted] = await self._ask(*wanted)

    async def _ask(self, audience: str, seconds: int) -> tuple[str, float]:
        meta, spec = self._pod["metadata"], self._pod["spec"]
        bound = {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]}
        asked: dict[str, Any] = {"expirationSeconds": seconds, "boundObjectRef": bound}
        if audience:
            asked["audiences"] = [audience]
        account = spec.get("serviceAccountName") or "default"
        path = SERVICE_ACCOUNT.path(meta["namespace"], account, "token")
        answer = await self._client.raw("POST", path, body={"spec": asked})
        lasts = float(answer["spec"].get("expirationSeconds") or seconds)
        return str(answer["status"]["token"]), self._clock.time() + lasts * _RENEWED_AFTER


def _wanted(source: Mapping[str, Any]) -> tuple[str, int]:
    """Audience, "" for the server's own, and lifetime in seconds."""
    return str(source.get("audience") or ""), int(source.get("expirationSeconds") or _DEFAULT_SECONDS)


def _sources(pod: Object) -> Iterator[Mapping[str, Any]]:
    for volume in pod["spec"].get("volumes") or ():
        for source in (volume.get("projected") or {}).get("sources") or ():
            if "serviceAccountToken" in source:
                yield source["serviceAccountToken"]
