"""The embedded API server as a whole: the core, its HTTPS front, and what is kept on disk."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from etl_operator.sandbox.http.access.access import Access
from etl_operator.sandbox.http.access.audit import Audit
from etl_operator.sandbox.http.access.rbac import RBAC_GROUP, RawObject
from etl_operator.sandbox.http.access.tokens import Tokens
from etl_operator.sandbox.http.bootstrap import kubernetes_service
from etl_operator.sandbox.http.bootstrap.apiservices import LocalServices
from etl_operator.sandbox.http.bootstrap.namespaces import NamespaceContents
from etl_operator.sandbox.http.bootstrap.objects import bootstrap_objects
from etl_operator.sandbox.http.content.request_text import in_utf8
from etl_operator.sandbox.http.documents.documents import Documents
from etl_operator.sandbox.http.files.journal import Journal, JournalFailed
from etl_operator.sandbox.http.files.kubeconfig import kubeconfig
from etl_operator.sandbox.http.files.tls import authority
from etl_operator.sandbox.http.front import Front
from etl_operator.sandbox.http.special import Logs
from informers.apiserver.admission import Admission
from informers.apiserver.core import ApiServer
from informers.apiserver.errors import StatusError
from informers.apiserver.errors.bounds import MAX_BODY
from informers.apiserver.store import Change
from informers.clock import Clock, SystemClock
from informers.connection import HttpConnection
from informers.objects import ObjectKey, Resource

log = logging.getLogger(__name__)

_HOST = "127.0.0.1"
_BACKLOG = 512
_CONNECTION: Mapping[str, Any] = {
    "access_log": None,
    "tcp_keepalive": True,
    # A real server reads bodies as they come, whatever Content-Encoding says; nothing is inflated.
    "auto_decompress": False,
    # A real server takes heads of 1 MiB; selectors get long. Fields and their number are bounded so that all
    # of them together stay within some MiB.
    "max_line_size": 2**20,
    "max_field_size": 2**16,
    "max_headers": 512,
}
_TOKEN_SECONDS = 365 * 86_400
"""How long a service account's kubeconfig lasts: longer than any sandbox."""

_ACCOUNT = Resource("", "v1", "serviceaccounts", "ServiceAccount")
_GRANTS = {
    plural: Resource(RBAC_GROUP, "v1", plural, kind, namespaced)
    for plural, kind, namespaced in (
        ("clusterroles", "ClusterRole", False),
        ("roles", "Role", True),
        ("clusterrolebindings", "ClusterRoleBinding", False),
        ("rolebindings", "RoleBinding", True),
    )
}


class EmbeddedServer:
    """One API server on 127.0.0.1, over TLS, with an authority of its own.

    :param port: where to listen; 0 takes a free port.
    :param state_dir: keeps the objects, the authority and the tokens there; without it all is in memory.
    :param clock: the machine's by default.
    :param audit_log: file that every decision about a request is appended to, see :class:`Audit`.
    :param admission: the plugins that are asked; all of them by default.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        state_dir: Path | None = None,
        clock: Clock | None = None,
        audit_log: Path | None = None,
        admission: Admission | None = None,
    ) -> None:
        self.logs: Logs | None = None
        """Reads the output of containers; set by whoever runs them."""
        self._clock = clock or SystemClock()
        self._port = port
        self._directory = state_dir / "apiserver" if state_dir else None
        self._core = ApiServer(self._clock, admission=admission or Admission())
        self._authority = authority(self._directory)
        self._tokens = Tokens(self._directory, self._account_uid, self._clock.time)
        self._grant_changes = 0
        self._core.subscribe(self._count_grants)
        self._journal: Journal | None = None
        self._audit_log = audit_log
        self._audit: Audit | None = None
        self._running: asyncio.Task[None] | None = None
        self._findable: asyncio.Task[None] | None = None
        self._server: web.Server | None = None
        self._site: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """``https://127.0.0.1:<port>``; the port is known after :meth:`start`."""
        return f"https://{_HOST}:{self._port}"

    @property
    def ca_pem(self) -> bytes:
        """The certificate clients must trust."""
        return self._authority.pem

    @property
    def core(self) -> ApiServer:
        """The server behind the front."""
        return self._core

    async def start(self) -> None:
        """Load what is kept, create what every cluster is born with, and listen.

        :raises OSError: when the port is taken or the state directory cannot be used.
        """
        if self._directory is not None:
            self._load(self._directory / "objects.sqlite")
        for obj in bootstrap_objects():
            with contextlib.suppress(StatusError):
                self._core.create(obj)
        NamespaceContents(self._core, self.ca_pem).start()
        LocalServices(self._core).start()
        self._running = asyncio.create_task(self._core.run(), name="API server")
        self._running.add_done_callback(_report_failure)
        if self._audit_log is not None:
            self._audit = Audit(self._audit_log, self._clock.time)
        access = Access(self._tokens, self._grants, lambda: self._grant_changes, self._audit)
        self._core.backend.authorizer = access.allows
        front = Front(
            self._core,
            access,
            self._tokens,
            Documents(self._core.registry.types, lambda: self._core.registry.revision),
            now=self._clock.time,
            logs=lambda: self.logs,
        )
        # Without cancellation a watch whose client has left would wait for its next event forever.
        self._server = web.Server(
            front,
            request_factory=_request,
            handler_cancellation=True,
        )
        self._site = await asyncio.get_running_loop().create_server(
            functools.partial(HttpConnection, self._server, **_CONNECTION),
            sock=_listening(self._port),
            ssl=self._authority.server_context(),
            backlog=_BACKLOG,
        )
        self._port = self._site.sockets[0].getsockname()[1]
        kubernetes_service.reconcile(self._core, _HOST, self._port)
        self._findable = asyncio.create_task(
            kubernetes_service.maintain(self._core, _HOST, self._port), name="default/kubernetes"
        )
        self._findable.add_done_callback(_report_failure)

    async def stop(self) -> None:
        """Stop listening, end every request, and close the files."""
        if self._site is not None:
            self._site.close()
        if self._server is not None:
            await self._server.shutdown(timeout=1.0)
        if self._site is not None:
            await self._site.wait_closed()
        for task in (self._findable, self._running):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if self._journal is not None:
            self._journal.close()
        if self._audit is not None:
            self._audit.close()

    def admin_kubeconfig(self) -> dict[str, Any]:
        """A kubeconfig that may do everything."""
        return kubeconfig(self.url, self.ca_pem, "sandbox-admin", self._tokens.admin)

    def kubeconfig_for(self, account: str) -> dict[str, Any]:
        """A kubeconfig of a service account.

        :param account: ``namespace/name``.
        :raises LookupError: when there is no such account.
        """
        namespace, _, name = account.partition("/")
        uid = self._account_uid(namespace, name)
        if uid is None:
            raise LookupError(f"service account {account} not found")
        issued = self._tokens.issue(namespace, name, uid, seconds=_TOKEN_SECONDS)
        return kubeconfig(self.url, self.ca_pem, name, issued.token, namespace)

    def _account_uid(self, namespace: str, name: str) -> str | None:
        found = self._core.find(_ACCOUNT, ObjectKey(namespace, name))
        return str(found["metadata"]["uid"]) if found is not None else None

    def _grants(self, plural: str) -> list[RawObject]:
        return list(self._core.all(_GRANTS[plural]))

    def _count_grants(self, change: Change) -> None:
        self._grant_changes += change.resource.group == RBAC_GROUP

    def _load(self, path: Path) -> None:
        self._journal = Journal(path)
        self._core.restore((json.loads(body) for body in self._journal.load()), self._journal.revision())
        self._core.listeners.append(self._record)

    def _record(self, change: Change) -> None:
        assert self._journal is not None
        resource, key = str(change.resource), change.key
        try:
            if change.stored is None:
                self._journal.remove(resource, key.namespace, key.name, change.revision)
            else:
                self._journal.put(resource, key.namespace, key.name, change.revision, change.stored.encoded)
        except JournalFailed as error:
            log.error("%s", error)
            raise StatusError(507, "InternalError", str(error)) from error


def _listening(port: int) -> socket.socket:
    sock = socket.socket()
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((_HOST, port))
    except BaseException:
        sock.close()
        raise
    return sock


def _request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: RequestHandler,
    writer: AbstractStreamWriter,
    task: asyncio.Task[None],
) -> web.BaseRequest:
    loop = asyncio.get_running_loop()
    return web.BaseRequest(in_utf8(message), payload, protocol, writer, task, loop, client_max_size=MAX_BODY)


def _report_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("the controllers of the API server failed", exc_info=error)
