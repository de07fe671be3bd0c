"""Why a member does not start, in words that stay the same while the reason does. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

STARTING = frozenset({"", "ContainerCreating", "PodInitializing"})
"""Words of a pod that does not run yet, which do not say why."""

_CHANGING = [
    # The near end of a connection: its port is another one with every try.
    (re.compile(r"(?:\d{1,3}(?:\.\d{1,3}){3}|\[[0-9A-Fa-f:.]+\]):\d+->"), ""),
    (re.compile(r"\(?[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\)?"), ""),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)"), "..."),
    (re.compile(r"(?i)\b(request[- ]?id)([:= ]+)[\w-]+"), r"\1\2..."),
    # Ids of containers and sandboxes; the digest of an image (sha256:...) is what was asked for.
    (re.compile(r"(?<![:@\w])[0-9a-f]{32,64}(?!\w)"), "..."),
    (re.compile(r"\b0x[0-9a-f]+\b"), "..."),
    # Durations as Go writes them, such as 1m20s and 5.017ms.
    (re.compile(r"(?<![^\s(=])(?:\d+(?:\.\d+)?(?:h|ms|µs|us|ns|m|s))+(?![^\s),.;:])"), "..."),
]
_BACK_OFF = re.compile(r'Back-off pulling image "[^"]*"(?:: ErrImagePull: |: )?')
_PULLING = "ImagePullBackOff"


def steady(text: str) -> str:
    """``text`` without what differs from one try to the next: ports, ids, times and durations."""
    for pattern, instead in _CHANGING:
        text = pattern.sub(instead, text)
    return " ".join(text.split())


def trouble(router: Mapping[str, Any], status: Mapping[str, Any]) -> str:
    """Why the router container does not run, as far as its pod shows; "" when it runs or nothing is said.

    :param router: the status of the router container; empty before there is one.
    """
    if status.get("reason"):
        # The pod as a whole: Evicted, NodeLost, OutOfcpu. What its containers were is of no use then.
        return _joined(str(status["reason"]), steady(str(status.get("message") or "")))
    if not router:
        return _unscheduled(status.get("conditions") or ())
    waiting = (router.get("state") or {}).get("waiting") or {}
    if waiting.get("reason") == "PodInitializing":
        return _joined("PodInitializing", _initializing(status.get("initContainerStatuses") or ()))
    return _reason(waiting) + (_end(router) if waiting.get("reason") == "CrashLoopBackOff" else "")


def lasting(now: str, before: str) -> str:
    """What is wrong now, with the cause that was known before where only the back-off is told now.

    Older kubelets name the cause of a failed pull while they try, and not while they wait for the next try.

    :param now: of :func:`trouble`, as is ``before``, both of one pod with one image.
    """
    return before if now.endswith(_PULLING) and before.startswith(f"{now}: ") else now


def _reason(waiting: Mapping[str, Any]) -> str:
    reason, message = str(waiting.get("reason") or ""), steady(str(waiting.get("message") or ""))
    if reason in ("ErrImagePull", _PULLING):
        # One failure, with two alternating reasons; newer kubelets put the cause behind the second as well.
        return _joined(_PULLING, _BACK_OFF.sub("", message, count=1))
    return _joined(reason, message)


def _end(container: Mapping[str, Any]) -> str:
    """How a container ended last."""
    ended = (container.get("lastState") or {}).get("terminated") or {}
    if "exitCode" not in ended:
        return ""
    # "Error" says no more than the code.
    why = f" ({ended['reason']})" if ended.get("reason") not in (None, "", "Error") else ""
    return f"; it ended with exit code {ended['exitCode']}{why}"


def _initializing(containers: Sequence[Mapping[str, Any]]) -> str:
    """The container that others have put before the router and that does not end: only this holds it up."""
    for one in containers:
        waiting = (one.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") not in (None, "PodInitializing"):
            return f"init container {one['name']}: {_reason(waiting)}{_end(one)}"
    # They run one after the other; helpers that stay come before the one that is waited for.
    running = [str(one["name"]) for one in containers if "running" in (one.get("state") or {})]
    return f"init container {running[-1]} is running" if running else ""


def _unscheduled(conditions: Sequence[Mapping[str, Any]]) -> str:
    for one in conditions:
        if one["type"] == "PodScheduled" and one["status"] == "False":
            return _joined(str(one.get("reason") or ""), steady(str(one.get("message") or "")))
    return ""


def _joined(*parts: str) -> str:
    return ": ".join(part for part in parts if part)
