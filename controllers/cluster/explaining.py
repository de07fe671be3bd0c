"""Why something of a cluster does not start, where only its events say so.

A Secret, ConfigMap or volume that a pod waits for is in no status: the kubelet says it in Warning events of
the pod. What keeps a claim from being bound, or a pod from being created, is in events of the claim and the
StatefulSet. Events are read when something has not started for a while, and then at a bounded rate.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from controllers.cluster.observation import Observation
from controllers.cluster.sights import FirstSight
from controllers.members.facts import PodFacts
from controllers.members.troubles import STARTING, steady
from controllers.objects.kinds import EVENT
from informers.client import Client
from informers.errors import ApiError, Forbidden, TransportError
from informers.objects import Object

ASK_AFTER = 5.0
"""Seconds without a start until events are read."""

ASK_EVERY = 5.0
"""Seconds between two looks at the events of one object."""

_SLOW_START = 20.0
"""Seconds without a start until the message says where to look, if nothing shows the cause."""

_AT_ONCE = 3
"""Objects whose events are read in one pass."""

_NEWEST = 100
"""Events read of one object. The server drops each after an hour."""

_TOGETHER = 150.0
"""Seconds: the kubelet tries again what failed after at most 122 s. What it has not repeated is over."""

_SHOWN = 3
"""Number of causes in the message about one object."""

_LONGEST = 300
"""Characters of one cause."""

_EXPLAINING = frozenset(
    {
        "FailedAttachVolume",
        "FailedCreate",
        "FailedCreatePodContainer",
        "FailedCreatePodSandBox",
        "FailedMapVolume",
        "FailedMount",
        "FailedPodSandBoxStatus",
        "FailedPrepareDynamicResources",
        "FailedSync",
        "FailedBinding",
        "ProvisioningFailed",
        "NetworkNotReady",
        "NodeNotReady",
    }
)
"""Reasons of events that say why a pod does not start, or why its claim is not bound. Others are about single
containers, or stop nothing (``DNSConfigForming``), or are in a status as well (``FailedScheduling``)."""

_WORDING = [
    (re.compile(r"^\(combined from similar events\): "), ""),
    (re.compile(r'^\w+\.\w+ failed for volume ("[^"]*") : '), r"volume \1: "),
    (re.compile(r"^create (?:Pod|Claim) (\S+) (?:Pod \S+ )?in StatefulSet \S+ failed error: "), r"\1: "),
]

_VAGUE = re.compile(r"timed out waiting for the condition$|context deadline exceeded$")
"""Says that something failed, and not what."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What the events of an object say.

    :param causes: why it does not start; "" when no event says so.
    :param problem: why its events could not be read; "" when they were.
    """

    causes: str = ""
    problem: str = ""


@dataclass(slots=True)
class Explanations:
    """Of the objects of one cluster that do not start, by uid."""

    _known: dict[str, Explanation] = field(default_factory=dict)
    _asked: dict[str, float] = field(default_factory=dict)

    async def ask(self, client: Client, namespace: str, uids: Mapping[str, float], now: float) -> None:
        """Read the events of a few of these objects, of those first that have waited longest.

        What is known of others is forgotten.

        :param uids: with the time before which events of the object no longer count, a Unix time.
        :param now: on a monotonic clock.
        """
        self._known = {uid: known for uid, known in self._known.items() if uid in uids}
        self._asked = {uid: asked for uid, asked in self._asked.items() if uid in uids}
        due = [uid for uid in uids if now - self._asked.get(uid, -math.inf) >= ASK_EVERY]
        for uid in sorted(due, key=lambda one: self._asked.get(one, -math.inf))[:_AT_ONCE]:
            self._asked[uid] = now
            try:
                self._known[uid] = Explanation(explained(await _events(client, namespace, uid), uids[uid]))
            except Forbidden:
                why = f"the operator has no permission to list events in namespace {namespace}"
                self._known[uid] = Explanation(problem=why)
            except (ApiError, TransportError) as error:
                # Servers often keep events apart, and nothing else depends on them.
                self._known.setdefault(uid, Explanation(problem=f"they cannot be read: {error}"))

    async def applied(
        self,
        client: Client,
        namespace: str,
        seen: Observation,
        claims: Mapping[str, Object],
        sights: FirstSight,
        now: float,
    ) -> Observation:
        """What was seen, with what events say of pods that have not started for a while.

        :param claims: by the name of their pod.
        :param sights: the cluster's; ``now`` is on their clock.
        """
        owner = (seen.stateful_set or {}).get("metadata", {}).get("uid", "")
        absent = owner if len(seen.pods) < seen.members.target else ""
        slow = {pod.uid: sights.lasted(f"starting {pod.name}", _mute(pod), now) for pod in seen.pods}
        unbound = {pod.uid: _unbound(pod, claims.get(pod.name)) for pod in seen.pods}
        slow |= {
            unbound[pod.uid]: sights.lasted(f"unbound {pod.name}", unbound[pod.uid], now) for pod in seen.pods
        }
        slow[absent] = sights.lasted("absent pods", absent, now)
        # Pods that were created since show that what a set said before is over.
        since = {owner: max((_unix(pod.created) for pod in seen.pods), default=0.0)}
        due = {uid: since.get(uid, 0.0) for uid, lasted in slow.items() if lasted >= ASK_AFTER}
        await self.ask(client, namespace, due, now)
        pods = [
            replace(pod, trouble=self._trouble(pod, namespace, unbound[pod.uid], slow[pod.uid]))
            for pod in seen.pods
        ]
        return replace(seen, pods=pods, absent=self._known.get(absent, Explanation()).causes)

    def _trouble(self, pod: PodFacts, namespace: str, claim: str, lasted: float) -> str:
        of_claim = self._known.get(claim, Explanation()).causes
        if of_claim:
            return f"{pod.trouble}; its volume: {of_claim}".removeprefix("; ")
        known = self._known.get(pod.uid, Explanation())
        if known.causes or lasted < _SLOW_START:
            return known.causes or pod.trouble
        look = f"kubectl describe pod {pod.name} -n {namespace}"
        if known.problem:
            return f"{pod.trouble or 'Pending'}; its events say why: {look} ({known.problem})"
        return f"{pod.trouble or 'Pending'}; no Warning event says why: {look}"


def _mute(pod: PodFacts) -> str:
    """The uid of a pod that does not run and does not say why; "" for any other."""
    return pod.uid if not pod.running and not pod.terminating and pod.trouble in STARTING else ""


def _unbound(pod: PodFacts, claim: Object | None) -> str:
    """The uid of the claim that a pod waits for; "" when it does not."""
    if pod.running or claim is None or (claim.get("status") or {}).get("phase") == "Bound":
        return ""
    return str(claim["metadata"].get("uid") or "")


async def _events(client: Client, namespace: str, uid: str) -> Sequence[Object]:
    page = await client.list(
        EVENT, namespace=namespace, field_selector=f"involvedObject.uid={uid},type=Warning", limit=_NEWEST
    )
    return page.items


def explained(events: Iterable[Object], since: float = 0.0) -> str:
    """What the events of an object that does not start say of it; "" when they say nothing.

    The causes that have been repeated of late, in alphabetical order: the text stays the same from one try to
    the next.

    :param events: Warning events of the core group about this object.
    :param since: Unix time; what has not happened again since then is over.
    """
    telling = [one for one in events if one.get("reason") in _EXPLAINING and _last(one) >= since]
    clear = [event for event in telling if not _VAGUE.search(str(event.get("message") or ""))]
    seen: dict[str, float] = {}
    for event in clear or telling:
        cause = _cause(event)
        seen[cause] = max(seen.get(cause, 0.0), _last(event))
    newest = max(seen.values(), default=0.0)
    return "; ".join(sorted(cause for cause, last in seen.items() if newest - last <= _TOGETHER)[:_SHOWN])


def _cause(event: Object) -> str:
    text = str(event.get("message") or "")
    for pattern, instead in _WORDING:
        text = pattern.sub(instead, text)
    text = steady(text)
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST - 1]}…"
    return f"{text} ({event['reason']})"


def _last(event: Object) -> float:
    """When it happened last, as a Unix time: recorders of the two generations write different fields."""
    times = [
        (event.get("series") or {}).get("lastObservedTime"),
        event.get("lastTimestamp"),
        event.get("eventTime"),
        (event.get("metadata") or {}).get("creationTimestamp"),
    ]
    return max((_unix(str(time)) for time in times if time), default=0.0)


def _unix(stamp: str) -> float:
    try:
        return datetime.fromisoformat(stamp).timestamp()
    except ValueError:
        return 0.0
