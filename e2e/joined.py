"""``python -m e2e.joined``: the sandbox on an API server that is there already, given by a kubeconfig.

Everything but the API server and its controllers is what ``etl-operator sandbox`` runs. The process node
joins the cluster as one more node and takes all pods for as long as the sandbox runs; see
:mod:`e2e.occupation` for what else it changes. The cluster must be one that may be thrown away.
"""

from __future__ import annotations

import asyncio
import base64
import fcntl
import hashlib
import sys
import tempfile
import uuid
from pathlib import Path
from typing import IO, Any

import click
import yaml

from e2e import occupation
from e2e.realcluster import options, settings_of
from etl_operator.cli.logs import configure_logging
from etl_operator.sandbox.http.files.kubeconfig import CLUSTER
from etl_operator.sandbox.http.special import Logs
from etl_operator.sandbox.reaper import Reaper
from etl_operator.sandbox.run import run_sandbox
from informers.client import Client, HttpTransport, load_kubeconfig
from informers.errors import ConfigError, RuntimeFault
from informers.objects import Object

_FILES = ("certificate-authority", "client-certificate", "client-key")


class JoinedServer:
    """The control plane of a cluster that is there already.

    :param kubeconfig: of somebody who may do everything there.
    :param state_dir: remembers that this sandbox has joined, so that it can be taken up again from there.
    """

    missing_loops = ("PersistentVolumeClaim",)

    def __init__(self, kubeconfig: Path, state_dir: Path) -> None:
        self._kubeconfig = kubeconfig
        self._state_dir = state_dir
        self._client: Client | None = None
        self._lock: IO[str] | None = None
        self._cluster: dict[str, Any] = {}
        self._user: dict[str, Any] = {}
        self.url = ""

    def serve_logs(self, logs: Logs) -> None:
        """A real server asks the node's own HTTPS endpoint, which the process node has not."""

    async def start(self) -> None:
        """Join: what an earlier sandbox left there goes first, unless it is this one's own.

        :raises informers.errors.ConfigError: when the kubeconfig is unusable, its user may not do everything,
            another sandbox has joined, or the operator is installed there by somebody.
        :raises informers.errors.TransportError: when the server does not answer.
        """
        access = load_kubeconfig(str(self._kubeconfig))
        self._cluster, self._user = _entries(self._kubeconfig)
        self.url = access.server
        client = Client(HttpTransport(access))
        try:
            await _admitted(client, self.url)
            self._lock = _locked(self.url)
            run = self._own_run()
            recorded = await occupation.run_recorded(client)
            if recorded is None and await occupation.has_own_installation(client):
                raise ConfigError(
                    f"{self.url}: the operator is installed there, and by no sandbox; "
                    "joining would delete all its objects in the end"
                )
            if recorded != run:
                await occupation.leave(client)
            self._client = client
            await occupation.occupy(client, run)
        finally:
            if self._client is None:
                await client.close()

    async def stop(self) -> None:
        """Leave the cluster as it was.

        :raises informers.errors.Terminal: naming what does not go.
        """
        try:
            if self._client is not None:
                await occupation.leave(self._client)
        finally:
            if self._client is not None:
                await self._client.close()
            if self._lock is not None:
                self._lock.close()

    def admin_kubeconfig(self) -> Object:
        """The given user's, with everything of files inlined."""
        return self._as(self._user)

    async def kubeconfig_for(self, account: str) -> Object:
        """A kubeconfig of the service account ``namespace/name``, by a token request.

        It reaches the server the same way, and has nothing of the given user: a client certificate would
        count for more than the token.
        """
        namespace, _, name = account.partition("/")
        assert self._client is not None
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        answer = await self._client.raw("POST", path, body={"spec": {"expirationSeconds": 86400}})
        return self._as({"token": answer["status"]["token"]})

    # -- inside -------------------------------------------------------------------------------------

    def _own_run(self) -> str:
        file = self._state_dir / "joined"
        if not file.exists():
            file.write_text(uuid.uuid4().hex, encoding="ascii")
        return file.read_text(encoding="ascii")

    def _as(self, user: dict[str, Any]) -> Object:
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": CLUSTER, "cluster": self._cluster}],
            "users": [{"name": "user", "user": user}],
            "contexts": [{"name": CLUSTER, "context": {"cluster": CLUSTER, "user": "user"}}],
            "current-context": CLUSTER,
        }


def _entries(kubeconfig: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Cluster and user of the current context, which must be valid; files are inlined."""
    document = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
    named = {
        inner: {entry["name"]: entry.get(inner) or {} for entry in document.get(f"{inner}s") or ()}
        for inner in ("cluster", "user", "context")
    }
    context = named["context"][document["current-context"]]
    cluster, user = named["cluster"][context["cluster"]], named["user"].get(context.get("user"), {})
    return _inlined(cluster, kubeconfig.parent), _inlined(user, kubeconfig.parent)


def _inlined(entry: dict[str, Any], directory: Path) -> dict[str, Any]:
    found = dict(entry)
    for name in _FILES:
        file = found.pop(name, None)
        if file and not found.get(f"{name}-data"):
            content = (directory / Path(file).expanduser()).read_bytes()
            found[f"{name}-data"] = base64.b64encode(content).decode()
    if token_file := found.get("tokenFile"):
        found["tokenFile"] = str((directory / Path(token_file).expanduser()).absolute())
    command = (found.get("exec") or {}).get("command", "")
    if "/" in command:
        found["exec"] = {**found["exec"], "command": str((directory / command).absolute())}
    return found


async def _admitted(client: Client, url: str) -> None:
    """:raises ConfigError: when the user may not do everything."""
    await client.raw("GET", "/version")
    everything = {"verb": "*", "group": "*", "resource": "*"}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": everything},
    }
    answer = await client.raw("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body=review)
    if not answer["status"].get("allowed"):
        raise ConfigError(f"{url}: the kubeconfig's user may not do everything, as a sandbox must")


def _locked(url: str) -> IO[str]:
    """One sandbox at a time; the lock ends with its process.

    :raises ConfigError: when another sandbox of this machine has it.
    """
    digest = hashlib.sha256(url.encode()).hexdigest()[:16]
    lock = (Path(tempfile.gettempdir()) / f"etl-operator-joined-{digest}.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise ConfigError(f"{url}: another sandbox has joined this cluster") from None
    return lock


async def _leave(kubeconfig: Path) -> None:
    access = load_kubeconfig(str(kubeconfig))
    with _locked(access.server):
        client = Client(HttpTransport(access))
        try:
            await occupation.leave(client)
        finally:
            await client.close()


@click.command()
@click.option("--join", "joined", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=True)
@click.option("--leave", is_flag=True, help="Only remove what a sandbox that was killed has left there.")
@options
def main(joined: Path, leave: bool, **given: Any) -> None:
    """Join a cluster that may be thrown away, and run the operator on it."""
    configure_logging("text", given["log_level"])
    if leave:
        try:
            asyncio.run(_leave(joined))
        except RuntimeFault as error:
            raise SystemExit(f"error: {error}") from None
        return

    def make(state_dir: Path, _: Reaper) -> JoinedServer:
        return JoinedServer(joined, state_dir)

    sys.exit(asyncio.run(run_sandbox(settings_of(given), make)))


if __name__ == "__main__":
    main()
