"""One pod on the node, from the moment it is seen until it is gone from the API server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Any

from etl_operator.sandbox.kubelet.container import Container
from etl_operator.sandbox.kubelet.place import NODE_ADDRESS, EventType, Place
from etl_operator.sandbox.kubelet.status import ContainerRecord, pod_status, recall
from etl_operator.sandbox.kubelet.tokens import AccountTokens
from etl_operator.sandbox.kubelet.unserved import unserved
from etl_operator.sandbox.kubelet.volumes import VolumeMissing, Volumes
from etl_operator.sandbox.loops.kinds import POD
from informers.errors import ApiError, Conflict, NotFound, RuntimeFault
from informers.objects import Object, ObjectKey

log = logging.getLogger(__name__)

_FIRST_RETRY = 0.1
_RETRY = 1.0
_SHUTDOWN_GRACE = 10.0
"""Seconds a container gets at most when the node itself stops."""


class PodWorker:
    """Brings a pod to life, reports on it, and takes it away.

    :param pod: as first seen.
    """

    def __init__(self, place: Place, pod: Object) -> None:
        self.key = ObjectKey.of(pod)
        self.uid = str(pod["metadata"]["uid"])
        self._place = place
        self._pod = pod
        self._address = NODE_ADDRESS if pod["spec"].get("hostNetwork") else place.addresses.address(self.key)
        self._tokens = AccountTokens(place.client, place.clock, pod)
        self._volumes = Volumes(
            pod, self._address, place.pod_directory(pod), place.claims, self._tokens.token
        )
        statuses = pod.get("status") or {}
        self._init = self._make("initContainers", statuses.get("initContainerStatuses") or ())
        self._containers = self._make("containers", statuses.get("containerStatuses") or ())
        self._since = place.now()
        self._dirty = asyncio.Event()
        self._config_changed = asyncio.Event()
        self._ending = asyncio.Event()
        self._vanished = False
        self._node_stops = False

    def update(self, pod: Object) -> None:
        """A newer version of the pod was seen."""
        if _version(pod) >= _version(self._pod):
            self._pod = pod
        if pod["metadata"].get("deletionTimestamp"):
            self._ending.set()
        self._dirty.set()

    def vanish(self) -> None:
        """The pod is no longer there: what runs for it has to end, and nobody asks how."""
        self._vanished = True
        self._ending.set()

    def refresh(self) -> None:
        """A ConfigMap, Secret or claim of the namespace has changed."""
        self._config_changed.set()

    def shut_down(self) -> None:
        """The node stops; the pod object stays."""
        self._node_stops = True
        self._ending.set()

    def container(self, name: str) -> Container | None:
        """The container, or init container, of this name."""
        return next((one for one in (*self._containers, *self._init) if one.record.name == name), None)

    def trim_logs(self) -> None:
        """Keep the containers' log files from filling the disk."""
        for one in (*self._containers, *self._init):
            one.logs.trim()

    async def run(self) -> None:
        """Until the pod is gone, or the node stops."""
        if self._pod["metadata"].get("deletionTimestamp"):
            self._ending.set()
        if not await self._bind():
            return
        reporting = asyncio.create_task(self._keep_reporting())
        refreshing = asyncio.create_task(self._keep_refreshing())
        living = asyncio.create_task(self._live())
        living.add_done_callback(self._report_failure)
        try:
            await self._ending.wait()
            if self._node_stops:
                # Nobody reports what happens now: the next node says that this one stopped.
                reporting.cancel()
            await self._stop()
            await living
        finally:
            for task in (reporting, refreshing, living):
                task.cancel()
            await asyncio.gather(reporting, refreshing, living, return_exceptions=True)
        if not self._node_stops:
            await self._leave()

    def _report_failure(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("pod %s", self.key, exc_info=error)

    def _make(self, field: str, statuses: Sequence[Any]) -> list[Container]:
        return [
            Container(
                self._place,
                lambda: self._pod,
                recall(spec, statuses),
                self._volumes,
                self._address,
                self._policy(spec, field),
                self._dirty_now,
            )
            for spec in self._pod["spec"].get(field) or ()
        ]

    def _policy(self, spec: Object, field: str) -> str:
        policy = str(spec.get("restartPolicy") or self._pod["spec"].get("restartPolicy") or "Always")
        if field == "initContainers" and not spec.get("restartPolicy"):
            # It has to succeed once; only "Never" spares it another try.
            return "Never" if policy == "Never" else "OnFailure"
        return policy

    def _dirty_now(self) -> None:
        self._dirty.set()

    async def _bind(self) -> bool:
        """Take the pod on, unless that has happened before; false when it is not ours to have."""
        if self._pod["spec"].get("nodeName"):
            return True
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": self.key.name, "namespace": self.key.namespace, "uid": self.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": self._place.node},
        }
        path = POD.path(self.key.namespace, self.key.name, "binding")
        while not self._ending.is_set():
            try:
                await self._place.client.raw("POST", path, body=body)
            except NotFound:
                return False
            except Conflict:
                # Someone else was faster, unless it was an earlier try of ours whose answer got lost.
                return await self._is_ours()
            except RuntimeFault as error:
                log.warning("cannot bind pod %s, trying again: %s", self.key, error)
                await self._pause(_RETRY)
            else:
                note = f"Successfully assigned {self.key} to {self._place.node}"
                self._tell("Normal", "Scheduled", "Binding", note)
                return True
        return False

    async def _is_ours(self) -> bool:
        try:
            pod = await self._place.client.get(POD, self.key)
        except RuntimeFault:
            return False
        return bool(pod["metadata"]["uid"] == self.uid and pod["spec"].get("nodeName") == self._place.node)

    async def _live(self) -> None:
        """Volumes, init containers one by one, then the others together."""
        if not await self._mount():
            return
        async with asyncio.TaskGroup() as group:
            for one in self._init:
                if self._ending.is_set() or not await self._initialize(one, group):
                    return
            if self._ending.is_set():
                return
            for one in self._containers:
                if "waiting" in one.record.state:
                    one.record.wait("ContainerCreating")
            self._dirty.set()
            running = [group.create_task(one.run()) for one in self._containers]
            await asyncio.wait(running)
            # Helpers that run beside the others end with them.
            for one in self._init:
                await one.stop(self._grace())

    async def _initialize(self, one: Container, group: asyncio.TaskGroup) -> bool:
        """Run an init container; false when the pod cannot continue."""
        if one.record.spec.get("restartPolicy") != "Always":
            await one.run()
            return one.record.finished and not one.record.failed
        group.create_task(one.run())
        started = asyncio.create_task(one.started.wait())
        ending = asyncio.create_task(self._ending.wait())
        try:
            await asyncio.wait({started, ending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            started.cancel()
            ending.cancel()
        return one.started.is_set()

    async def _mount(self) -> bool:
        if (why := unserved(self._pod["spec"])) is not None:
            for one in self._containers:
                one.record.wait("ContainerCreating")
            self._tell("Warning", "FailedCreatePodSandBox", "CreatePodSandBox", why)
            self._dirty.set()
            await self._ending.wait()
        pause = _FIRST_RETRY
        while not self._ending.is_set():
            try:
                await self._prepare_volumes()
            except (VolumeMissing, OSError, RuntimeFault) as error:
                for one in self._containers:
                    one.record.wait("ContainerCreating")
                # A claim that is about to be bound is worth no event. Of all others every try is counted.
                if pause >= _RETRY:
                    self._tell("Warning", "FailedMount", "Mounting", str(error))
                self._dirty.set()
                await self._pause(pause)
                pause = min(pause * 2, _RETRY)
            else:
                return True
        return False

    async def _prepare_volumes(self) -> None:
        await self._tokens.renew()
        self._volumes.prepare(self._place.find(self.key.namespace))

    async def _keep_refreshing(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._tokens.due_in()):
                    await self._config_changed.wait()
            self._config_changed.clear()
            try:
                await self._prepare_volumes()
            except (VolumeMissing, OSError, RuntimeFault) as error:
                # What is gone meanwhile stays as it was: a running pod keeps its files.
                log.debug("volumes of pod %s: %s", self.key, error)

    async def _keep_reporting(self) -> None:
        self._dirty.set()
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            try:
                await self._report()
            except NotFound:
                continue
            except RuntimeFault as error:
                log.debug("status of pod %s: %s", self.key, error)
                self._dirty.set()
                await asyncio.sleep(_RETRY)

    async def _report(self) -> None:
        before = self._pod.get("status") or {}
        status = pod_status(
            self._pod,
            self._address,
            self._records(self._init),
            self._records(self._containers),
            self._place.now(),
            self._since,
        )
        if all(before.get(name) == value for name, value in status.items()):
            return
        patch = {"metadata": {"uid": self.uid}, "status": status}
        answer = await self._place.client.patch(POD, self.key, patch, subresource="status")
        if _version(answer) >= _version(self._pod):
            self._pod = answer

    @staticmethod
    def _records(containers: Sequence[Container]) -> list[ContainerRecord]:
        return [one.record for one in containers]

    def _grace(self) -> float:
        if self._vanished:
            return 0.0
        meta, spec = self._pod["metadata"], self._pod["spec"]
        grace = meta.get("deletionGracePeriodSeconds", spec.get("terminationGracePeriodSeconds"))
        seconds = 30.0 if grace is None else float(grace)
        return min(seconds, _SHUTDOWN_GRACE) if self._node_stops else seconds

    async def _stop(self) -> None:
        if not self._node_stops and not self._vanished:
            for one in self._containers:
                if "running" in one.record.state:
                    self._tell("Normal", "Killing", "Killing", f"Stopping container {one.record.name}")
        grace = self._grace()
        await asyncio.gather(*(one.stop(grace) for one in self._containers))
        await asyncio.gather(*(one.stop(grace) for one in self._init))

    async def _leave(self) -> None:
        """Confirm that nothing runs any more: the server then removes the pod."""
        while not self._vanished and not self._node_stops:
            with contextlib.suppress(NotFound):
                await self._report_end()
            try:
                await self._place.client.delete(POD, self.key, uid=self.uid, grace_period=0)
            except (NotFound, Conflict):
                break
            except RuntimeFault as error:
                log.warning("cannot delete pod %s, trying again: %s", self.key, error)
                await asyncio.sleep(_RETRY)
            else:
                break
        self._volumes.remove()

    async def _report_end(self) -> None:
        try:
            await self._report()
        except ApiError as error:
            log.debug("last status of pod %s: %s", self.key, error)

    def _tell(self, kind: EventType, reason: str, action: str, note: str) -> None:
        self._place.recorder.event(self._pod, type=kind, reason=reason, action=action, note=note)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ending.wait()


def _version(pod: Object) -> int:
    version = str(pod["metadata"].get("resourceVersion") or "")
    return int(version) if version.isdecimal() else 0
