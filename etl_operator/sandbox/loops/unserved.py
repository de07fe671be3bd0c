"""What no loop acts on gets an event that says so, once: it would look as if it were about to run."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from etl_operator.sandbox.loops import kinds
from informers.cache.informer import Informer
from informers.client import Client
from informers.clock import Clock, micro_time
from informers.errors import AlreadyExists, NotFound
from informers.objects import Object, ObjectKey, Resource

KINDS = (
    Resource("apps", "v1", "daemonsets", "DaemonSet"),
    Resource("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler"),
    Resource("batch", "v1", "cronjobs", "CronJob"),
    Resource("batch", "v1", "jobs", "Job"),
    Resource("", "v1", "replicationcontrollers", "ReplicationController"),
)
"""Kinds that the controller manager of a cluster would act on, and nothing does here."""


class Unserved:
    """Writes the events.

    :param caches: by kind.
    """

    def __init__(self, client: Client, caches: Mapping[str, Informer], clock: Clock) -> None:
        self._client = client
        self._caches = caches
        self._clock = clock

    async def sync(self, kind: str, key: ObjectKey) -> None:
        """Say it about one object."""
        view = self._caches[kind].get(key)
        if view is None or view.deleting:
            return
        with contextlib.suppress(AlreadyExists, NotFound):
            await self._client.create(
                kinds.EVENT, not_run(view.object(), kind, micro_time(self._clock.time()))
            )


def not_run(obj: Object, kind: str, now: str) -> Object:
    """The event about an object. Its name is always the same, so that a second one is refused.

    :param now: RFC 3339 with microseconds.
    """
    meta = obj["metadata"]
    return {
        "apiVersion": kinds.EVENT.api_version,
        "kind": kinds.EVENT.kind,
        "metadata": {"name": f"{meta['name']}.{meta['uid']}"[-253:], "namespace": meta["namespace"]},
        "regarding": {
            "apiVersion": obj["apiVersion"],
            "kind": kind,
            "namespace": meta["namespace"],
            "name": meta["name"],
            "uid": meta["uid"],
        },
        "type": "Warning",
        "reason": "NotSupported",
        "action": "Reconciling",
        "note": f"The sandbox has no controller for {kind}s; the object is stored and has no effect",
        "eventTime": now,
        "reportingController": "etl-operator-sandbox",
        "reportingInstance": "sandbox",
    }
