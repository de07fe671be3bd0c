"""One container of a pod: started, probed, started again as its policy says, and stopped."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from etl_operator.sandbox.kubelet import probes
from etl_operator.sandbox.kubelet.environment import (
    ACCOUNT_DIRECTORY,
    API_SERVER,
    ConfigMissing,
    PathRewriter,
    api_server_variables,
    command_line,
    environment,
    kubeconfig,
    proxy_variables,
)
from etl_operator.sandbox.kubelet.images import Image
from etl_operator.sandbox.kubelet.logs import LogFiles, read
from etl_operator.sandbox.kubelet.memory import memory_limit
from etl_operator.sandbox.kubelet.place import EventType, Place
from etl_operator.sandbox.kubelet.process import CannotStart, Run
from etl_operator.sandbox.kubelet.status import ContainerRecord
from etl_operator.sandbox.kubelet.volumes import VolumeMissing, Volumes
from informers.objects import Object

log = logging.getLogger(__name__)

_RETRY = 1.0
"""Seconds between looks for a ConfigMap or Secret that is missing."""
_HOOK_SECONDS = 30.0
_GRACE = 30.0
"""Seconds, where a pod says nothing about it."""
_START_ERROR = 128
_CANNOT_EXECUTE = 126
_KILLED = 128 + signal.SIGKILL


class Container:
    """Runs one container until it has ended permanently, or is stopped.

    :param pod: the pod as it is at this moment.
    :param policy: ``Always``, ``OnFailure`` or ``Never``.
    :param changed: called whenever the record has changed.
    """

    def __init__(
        self,
        place: Place,
        pod: Callable[[], Object],
        record: ContainerRecord,
        volumes: Volumes,
        address: str,
        policy: str,
        changed: Callable[[], None],
    ) -> None:
        self.record = record
        self.logs = LogFiles(place.pod_directory(pod()) / "logs" / record.name)
        self.started = asyncio.Event()
        self._place = place
        self._pod = pod
        self._volumes = volumes
        self._address = address
        self._policy = policy
        self._changed = changed
        self._backoff = place.backoff()
        self._stopping = asyncio.Event()
        self._run: Run | None = None
        self._over_limit = False
        self._kills: set[asyncio.Task[int]] = set()
        self._launch: tuple[dict[str, str], Path] = ({}, place.directory)

    def output(self, *, follow: bool, tail: int | None, previous: bool) -> AsyncGenerator[bytes, None]:
        """What it has written; see :func:`etl_operator.sandbox.kubelet.logs.read`."""
        return read(self.logs, follow=follow, tail=tail, previous=previous, ended=self._is_silent)

    def file(self, path: str) -> Path:
        """Where a path in one of its volumes is on this machine.

        :raises VolumeMissing: while a volume is not there.
        """
        find = self._place.find(self._pod()["metadata"]["namespace"])
        return Path(PathRewriter(self._volumes.mounts(self.record.spec, find, self._launch[0])).rewrite(path))

    def _is_silent(self) -> bool:
        """Whether nothing will be added to the log any more."""
        return self.record.finished or (self._stopping.is_set() and self._run is None)

    async def run(self) -> None:
        """Live until the end. Cancelling is not the way to end it; :meth:`stop` is."""
        loop = asyncio.get_running_loop()
        if self._is_over():
            self.record.finished = True
        elif "terminated" in self.record.state:
            self.record.restarts += 1
        while not self.record.finished and not self._stopping.is_set():
            began = loop.time()
            code = await self._once()
            if code is None or self._stopping.is_set():
                break
            if self._policy == "Never" or (self._policy == "OnFailure" and code == 0):
                self.record.finished = True
                break
            await self._back_off(loop.time() - began)
        self._changed()

    async def stop(self, grace: float) -> None:
        """End it: the hook, SIGTERM, and SIGKILL after ``grace`` seconds in all."""
        self._stopping.set()
        run, loop = self._run, asyncio.get_running_loop()
        if run is None:
            return
        began = loop.time()
        if hook := (self.record.spec.get("lifecycle") or {}).get("preStop"):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hook(hook), grace)
        await run.stop(max(0.0, grace - (loop.time() - began)))

    async def execute(self, command: Sequence[str]) -> int:
        """Run a command as the container would; its exit code. Its output is thrown away."""
        variables, directory = self._launch
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            run = await Run.start(command, variables, directory, nowhere, self._place.reaper)
        except CannotStart:
            return _CANNOT_EXECUTE
        finally:
            os.close(nowhere)
        try:
            return await run.wait()
        finally:
            # Waited for: who cancels this may close the event loop next, and nobody would notice the end.
            await run.kill()

    def _is_over(self) -> bool:
        """Whether an earlier node saw it end, and it does not come back."""
        terminated = self.record.state.get("terminated")
        if terminated is None or self._policy == "Always":
            return False
        return self._policy == "Never" or terminated["exitCode"] == 0

    async def _once(self) -> int | None:
        """One run; its exit code, or ``None`` when it was stopped before it began."""
        command = await self._ready_to_start()
        if command is None:
            return None
        try:
            self._run = await self._start(command)
        except (CannotStart, OSError) as error:
            self.record.end(self._place.now(), _START_ERROR, "StartError", str(error))
            self._tell("Warning", "Failed", "Starting", f"Error: {error}")
            self._changed()
            return _START_ERROR
        meta = self._pod()["metadata"]
        self.record.run(
            self._place.now(), f"sandbox://{meta['uid']}/{self.record.name}/{self.record.restarts}"
        )
        self._tell("Normal", "Started", "Starting", f"Started container {self.record.name}")
        self._changed()
        if self._stopping.is_set():
            # It was asked to stop before there was a process to stop.
            self._kill(self._run)
        with self._limited(self._run):
            code = await self._supervise(self._run)
        self._run = None
        # It may have ended by itself just before it was killed.
        reason = "OOMKilled" if self._over_limit and code == _KILLED else ""
        self.record.end(self._place.now(), code, reason)
        self.started.clear()
        self._changed()
        return code

    async def _start(self, command: Sequence[str]) -> Run:
        variables, directory = self._launch
        output = self.logs.open(self.record.restarts)
        try:
            return await Run.start(command, variables, directory, output, self._place.reaper)
        finally:
            os.close(output)

    async def _ready_to_start(self) -> list[str] | None:
        """Wait until everything it refers to is there; ``None`` when it is stopped while waiting."""
        said = ""
        while not self._stopping.is_set():
            image = self._place.images.find(str(self.record.spec.get("image") or ""))
            if image is None:
                await self._without_image()
                return None
            try:
                return self._prepare(image)
            except (ConfigMissing, VolumeMissing, OSError) as error:
                if str(error) != said:
                    said = str(error)
                    self.record.wait("CreateContainerConfigError", said)
                    self._tell("Warning", "Failed", "Starting", f"Error: {said}")
                    self._changed()
            await self._pause(_RETRY)
        return None

    async def _without_image(self) -> None:
        """The table of images does not grow while the node runs: nothing to do but to say so."""
        refusal = self._place.images.refusal(str(self.record.spec.get("image") or ""))
        self.record.wait("ErrImagePull", refusal)
        self._tell("Warning", "Failed", "Pulling", f"Failed to pull image: {refusal}")
        self._changed()
        await self._stopping.wait()

    def _prepare(self, image: Image) -> list[str]:
        spec, pod, place = self.record.spec, self._pod(), self._place
        find = place.find(pod["metadata"]["namespace"])
        declared = environment(spec, pod, self._address, find)
        mounts = self._volumes.mounts(spec, find, declared)
        paths = PathRewriter(mounts)

        def local(value: str) -> str:
            return place.names.rewrite(paths.rewrite(value))

        base = {
            "PATH": place.search_path(image),
            "HOME": str(place.pod_directory(pod)),
            "HOSTNAME": str(pod["spec"].get("hostname") or pod["metadata"]["name"]),
            "LANG": os.environ.get("LANG", "C.UTF-8"),
            **self._network(mounts),
        }
        if temporary := mounts.get("/tmp"):  # noqa: S108 - a path inside the container
            base["TMPDIR"] = temporary
        command = [local(word) for word in command_line(spec, image.entrypoint, {**base, **declared})]
        command = image.listen(command, self._address)
        wanted = spec.get("workingDir")
        directory = Path(local(wanted)) if wanted else place.pod_directory(pod)
        if not directory.is_dir():
            directory = place.pod_directory(pod)
        directory.mkdir(parents=True, exist_ok=True)
        self._launch = {**base, **{name: local(value) for name, value in declared.items()}}, directory
        return command

    def _network(self, mounts: Mapping[str, str]) -> dict[str, str]:
        """Variables by which the process finds the API server, as its account, and other pods."""
        place, pod = self._place, self._pod()
        namespace = str(pod["metadata"]["namespace"])
        server = place.names.rewrite(API_SERVER)
        variables = api_server_variables(server) | proxy_variables(place.proxy, namespace)
        account = mounts.get(ACCOUNT_DIRECTORY)
        if account is not None and server != API_SERVER:
            file = place.pod_directory(pod) / f"{self.record.name}.kubeconfig"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(kubeconfig(f"https://{server}", account, namespace)), encoding="utf-8")
            variables["KUBECONFIG"] = str(file)
        return variables

    async def _supervise(self, run: Run) -> int:
        async with self._probed(run):
            if hook := (self.record.spec.get("lifecycle") or {}).get("postStart"):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._hook(hook), _HOOK_SECONDS)
            return await run.wait()

    @contextlib.contextmanager
    def _limited(self, run: Run) -> Iterator[None]:
        self._over_limit = False
        limit = memory_limit(self.record.spec)
        if limit is None:
            yield
            return

        def kill() -> None:
            self._over_limit = True
            shown = self.record.spec["resources"]["limits"]["memory"]
            note = f"Container {self.record.name} uses more memory than its limit of {shown}"
            self._tell("Warning", "OOMKilling", "Killing", note)
            run.signal(signal.SIGKILL)

        self._place.memory.add(run.pid, limit, kill)
        try:
            yield
        finally:
            self._place.memory.remove(run.pid)

    @contextlib.asynccontextmanager
    async def _probed(self, run: Run) -> AsyncIterator[None]:
        watching = asyncio.create_task(self._watch(run))
        watching.add_done_callback(_report_failure)
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _watch(self, run: Run) -> None:
        spec = self.record.spec
        if startup := spec.get("startupProbe"):
            await self._until_started(startup, run)
        self.record.started = True
        self.record.ready = "readinessProbe" not in spec
        self.started.set()
        self._changed()
        async with asyncio.TaskGroup() as group:
            if readiness := spec.get("readinessProbe"):
                group.create_task(
                    probes.watch(readiness, self._asker(readiness), self._on_readiness, healthy=False)
                )
            if liveness := spec.get("livenessProbe"):
                verdict = self._killing("Liveness", run)
                group.create_task(probes.watch(liveness, self._asker(liveness), verdict, healthy=True))

    async def _until_started(self, probe: Mapping[str, Any], run: Run) -> None:
        passed, killing = asyncio.Event(), self._killing("Startup", run)

        def verdict(success: bool, problem: str) -> None:
            if success:
                passed.set()
            else:
                killing(success, problem)

        asking = asyncio.create_task(probes.watch(probe, self._asker(probe), verdict, healthy=False))
        try:
            await passed.wait()
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    def _asker(self, probe: Mapping[str, Any]) -> Callable[[], Any]:
        return probes.asker(probe, self.record.spec, self._address, self.execute)

    def _on_readiness(self, success: bool, problem: str) -> None:
        if success == self.record.ready:
            return
        self.record.ready = success
        if not success:
            self._tell("Warning", "Unhealthy", "Probing", f"Readiness probe failed: {problem}")
        self._changed()

    def _killing(self, kind: str, run: Run) -> Callable[[bool, str], None]:
        def verdict(success: bool, problem: str) -> None:
            if success or self._kills:
                return
            self._tell("Warning", "Unhealthy", "Probing", f"{kind} probe failed: {problem}")
            why = f"Container {self.record.name} failed {kind.lower()} probe, will be restarted"
            self._tell("Normal", "Killing", "Killing", why)
            self._kill(run)

        return verdict

    def _kill(self, run: Run) -> None:
        grace = self._pod()["spec"].get("terminationGracePeriodSeconds")
        task = asyncio.create_task(run.stop(_GRACE if grace is None else float(grace)))
        self._kills.add(task)
        task.add_done_callback(self._kills.discard)

    async def _hook(self, hook: Mapping[str, Any]) -> None:
        if "sleep" in hook:
            await asyncio.sleep(float(hook["sleep"]["seconds"]))
        elif problem := await self._asker(hook)():
            self._tell("Warning", "FailedHook", "Starting", problem)

    async def _back_off(self, ran_for: float) -> None:
        delay = self._backoff.ended(ran_for)
        if delay:
            meta = self._pod()["metadata"]
            pod = f"{meta['name']}_{meta['namespace']}({meta['uid']})"
            self.record.wait(
                "CrashLoopBackOff",
                f"back-off {delay:g}s restarting failed container={self.record.name} pod={pod}",
            )
            # Without the delay: events that say the same are counted, not repeated.
            note = f"Back-off restarting failed container {self.record.name} in pod {pod}"
            self._tell("Warning", "BackOff", "Restarting", note)
            self._changed()
            await self._pause(delay)
        self.record.restarts += 1

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    def _tell(self, kind: EventType, reason: str, action: str, note: str) -> None:
        self._place.recorder.event(self._pod(), type=kind, reason=reason, action=action, note=note)


def _report_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("the probe loop of a container failed", exc_info=error)
