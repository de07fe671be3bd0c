"""What the sandbox needs of a control plane: the embedded one, or a real one in end-to-end tests."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Protocol

from etl_operator.sandbox.http.server import EmbeddedServer
from etl_operator.sandbox.http.special import Logs
from etl_operator.sandbox.loops.running import ALL
from etl_operator.sandbox.reaper import Reaper
from informers.apiserver.faults import FaultRule
from informers.objects import Object


class ControlPlane(Protocol):
    """An API server, with whatever controllers it brings along."""

    @property
    def url(self) -> str:
        """Where it listens; known after :meth:`start`."""
        ...

    @property
    def missing_loops(self) -> Collection[str]:
        """The control loops it does not bring, of :data:`etl_operator.sandbox.loops.running.ALL`."""
        ...

    async def start(self) -> None:
        """Start, and return once it answers."""
        ...

    async def stop(self) -> None:
        """End everything it started."""
        ...

    def admin_kubeconfig(self) -> Object:
        """A kubeconfig that may do everything."""
        ...

    async def kubeconfig_for(self, account: str) -> Object:
        """A kubeconfig of the service account ``namespace/name``."""
        ...

    def serve_logs(self, logs: Logs) -> None:
        """Where the output of containers is read, for control planes that can pass it on."""
        ...


class Embedded:
    """The embedded API server as a control plane: it brings no loops.

    :param port: where to listen; 0 takes a free port.
    :param state_dir: keeps the objects there; without it all is in memory.
    :param faults: how it misbehaves, from its start on.
    :param audit_log: file for every decision about a request.
    """

    missing_loops: Collection[str] = ALL

    def __init__(
        self,
        *,
        port: int,
        state_dir: Path | None,
        faults: Iterable[FaultRule] = (),
        audit_log: Path | None = None,
    ) -> None:
        self._server = EmbeddedServer(port=port, state_dir=state_dir, audit_log=audit_log)
        self._faults = faults
        self.url = ""

    async def start(self) -> None:
        """:raises OSError: when the port is taken or the state directory cannot be used."""
        await self._server.start()
        # What every cluster is born with is made without faults.
        for rule in self._faults:
            self._server.core.faults.add(rule)
        self.url = self._server.url

    async def stop(self) -> None:
        """Stop listening and close the files."""
        await self._server.stop()

    def admin_kubeconfig(self) -> Object:
        """A kubeconfig that may do everything."""
        return self._server.admin_kubeconfig()

    async def kubeconfig_for(self, account: str) -> Object:
        """:raises LookupError: when there is no such account."""
        return self._server.kubeconfig_for(account)

    def serve_logs(self, logs: Logs) -> None:
        """Its own ``pods/log`` reads them."""
        self._server.logs = logs


MakeControlPlane = Callable[[Path, Reaper], ControlPlane]
"""(state directory, guard of processes) to a control plane that is not started yet."""
