"""The real control plane: etcd, kube-apiserver and kube-controller-manager as local processes.

It stands in for the sandbox's own API server and loops: the same process node, name proxy and operator
run beside it. The programs are taken from ``KUBEBUILDER_ASSETS`` where that has all of them, else built
from their Go modules as pinned in ``e2e/controlplane/go.mod`` (some minutes, once; kept in the user's
cache directory).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import ssl
import subprocess
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import click
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from etl_operator.sandbox.http.special import Logs
from etl_operator.sandbox.reaper import Reaper, dying_with_parent
from etl_operator.sandbox.run import free_ports
from informers.objects import Object

PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager")
_MODULES = Path(__file__).resolve().parent / "controlplane"
_PACKAGES = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
}
_START_WITHIN = 60.0
_ISSUER = "https://kubernetes.default.svc.cluster.local"


class Unavailable(Exception):
    """There is no real control plane on this machine; the text says what is missing."""


def version() -> str:
    """The pinned version of Kubernetes, such as ``v1.37.2``."""
    for line in (_MODULES / "go.mod").read_text(encoding="utf-8").splitlines():
        words = line.split()
        if words[:1] == ["k8s.io/kubernetes"]:
            return words[1]
    raise Unavailable(f"{_MODULES / 'go.mod'} names no k8s.io/kubernetes")


def programs() -> Mapping[str, Path]:
    """Path by program, building what is missing.

    :raises Unavailable: without assets and without a Go toolchain, or when the build fails.
    """
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets and all((Path(assets) / name).exists() for name in PROGRAMS):
        return {name: Path(assets) / name for name in PROGRAMS}
    directory = _built()
    for name in PROGRAMS:
        if not (directory / name).exists():
            _build(name, directory)
    return {name: directory / name for name in PROGRAMS}


def etcd() -> Path | None:
    """The etcd program that is there: on ``PATH``, in the assets, or built before; None if there is none."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    found = shutil.which("etcd") or shutil.which("etcd", path=f"{assets or ''}{os.pathsep}{_built()}")
    return Path(found) if found else None


def _built() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "etl-operator" / f"controlplane-{version()}"


def _build(name: str, directory: Path) -> None:
    if shutil.which("go") is None:
        raise Unavailable(
            f"no real control plane: KUBEBUILDER_ASSETS has not all of {', '.join(PROGRAMS)}, "
            "and there is no Go toolchain to build them"
        )
    directory.mkdir(parents=True, exist_ok=True)
    # A half-written program must never be taken for a whole one.
    fresh = directory / f"{name}.new"
    click.echo(f"building {name} {version()}; this takes some minutes, once", err=True)
    stamp = f"-X k8s.io/component-base/version.gitVersion={version()}"
    flags = ("-mod=mod", "-trimpath", "-ldflags", f"-s -w {stamp}", "-o", str(fresh))
    built = subprocess.run(
        ["go", "build", *flags, _PACKAGES[name]],
        cwd=_MODULES,
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode:
        raise Unavailable(f"{name} could not be built: {built.stderr.strip()[-2000:]}")
    fresh.replace(directory / name)


class RealServer:
    """One control plane on loopback; the same shape as the sandbox's embedded server.

    :param state_dir: for etcd's data, certificates, keys and logs.
    :param reaper: guards the processes.
    """

    def __init__(self, state_dir: Path, reaper: Reaper) -> None:
        self._directory = state_dir / "controlplane"
        self._reaper = reaper
        self._processes: list[asyncio.subprocess.Process] = []
        self._admin = secrets.token_urlsafe(24)
        self.url = ""
        # Its controllers bind claims; somebody else has to provide the volumes.
        self.missing_loops = ("PersistentVolumeClaim",)

    def serve_logs(self, logs: Logs) -> None:
        """A real server asks the node's own HTTPS endpoint, which the process node has not."""

    async def start(self) -> None:
        """Start everything and wait until the API server is ready.

        :raises Unavailable: when it does not become ready; the end of its log is in the text.
        """
        found = await asyncio.to_thread(programs)
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        client, peer, secure, manager = free_ports(4)
        self.url = f"https://127.0.0.1:{secure}"
        self._write_credentials()
        etcd = f"http://127.0.0.1:{client}"
        await self._run(found["etcd"], *_etcd_flags(self._directory, etcd, f"http://127.0.0.1:{peer}"))
        await self._run(found["kube-apiserver"], *_apiserver_flags(self._directory, etcd, secure))
        await self._ready()
        kubeconfig = self._directory / "admin.kubeconfig"
        kubeconfig.write_text(yaml.safe_dump(self.admin_kubeconfig()), encoding="utf-8")
        await self._run(
            found["kube-controller-manager"], *_manager_flags(self._directory, kubeconfig, manager)
        )

    async def stop(self) -> None:
        """End everything, the API server before its store."""
        for process in reversed(self._processes):
            if process.returncode is None:
                process.terminate()
                try:
                    await asyncio.wait_for(process.wait(), 15)
                except TimeoutError:
                    process.kill()
                    await process.wait()
            self._reaper.remove(process.pid)

    def admin_kubeconfig(self) -> Object:
        """A kubeconfig that may do everything."""
        return self._kubeconfig(self._admin)

    async def kubeconfig_for(self, account: str) -> Object:
        """A kubeconfig of the service account ``namespace/name``, by a token request."""
        namespace, _, name = account.partition("/")
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        body = {"spec": {"expirationSeconds": 86400}}
        async with self._session() as session, session.post(self.url + path, json=body) as answer:
            answer.raise_for_status()
            return self._kubeconfig((await answer.json())["status"]["token"])

    # -- inside -------------------------------------------------------------------------------------

    def _kubeconfig(self, token: str) -> Object:
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "etl-operator-sandbox",
                    "cluster": {
                        "server": self.url,
                        "certificate-authority": str(self._directory / "certificates" / "apiserver.crt"),
                    },
                }
            ],
            "users": [{"name": "user", "user": {"token": token}}],
            "contexts": [
                {
                    "name": "etl-operator-sandbox",
                    "context": {"cluster": "etl-operator-sandbox", "user": "user"},
                }
            ],
            "current-context": "etl-operator-sandbox",
        }

    def _session(self) -> aiohttp.ClientSession:
        trusted = ssl.create_default_context(cafile=self._directory / "certificates" / "apiserver.crt")
        headers = {"Authorization": f"Bearer {self._admin}"}
        return aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(ssl=trusted))

    def _write_credentials(self) -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        _private(self._directory / "accounts.key", pem)
        line = f'{self._admin},admin,admin,"system:masters"\n'
        _private(self._directory / "tokens.csv", line.encode())

    async def _run(self, program: Path, *flags: str) -> None:
        with (self._directory / f"{program.name}.log").open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *dying_with_parent([str(program), *flags]),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._reaper.add(process.pid)
        self._processes.append(process)

    async def _ready(self) -> None:
        certificate = self._directory / "certificates" / "apiserver.crt"
        deadline = asyncio.get_running_loop().time() + _START_WITHIN
        while asyncio.get_running_loop().time() < deadline:
            for process in self._processes:
                if process.returncode is not None:
                    raise Unavailable(f"a program ended with {process.returncode}:\n{self._last_words()}")
            if certificate.exists():
                with contextlib.suppress(aiohttp.ClientError, ssl.SSLError):
                    async with self._session() as session, session.get(f"{self.url}/readyz") as answer:
                        if answer.status == 200:
                            return
            await asyncio.sleep(0.1)
        raise Unavailable(f"not ready within {_START_WITHIN:.0f} s:\n{self._last_words()}")

    def _last_words(self) -> str:
        texts = []
        for log in sorted(self._directory.glob("*.log")):
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-8:]
            texts.append("\n".join([log.name, *lines]))
        return "\n".join(texts)


def _etcd_flags(directory: Path, client: str, peer: str) -> list[str]:
    return [
        f"--data-dir={directory / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        # Tests do not need to survive a power cut.
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def _apiserver_flags(directory: Path, etcd: str, port: int) -> list[str]:
    return [
        f"--etcd-servers={etcd}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        # Nobody uses the `kubernetes` Service here, and its endpoints must not be on loopback.
        "--endpoint-reconciler-type=none",
        f"--secure-port={port}",
        f"--cert-dir={directory / 'certificates'}",
        f"--service-account-issuer={_ISSUER}",
        f"--service-account-key-file={directory / 'accounts.key'}",
        f"--service-account-signing-key-file={directory / 'accounts.key'}",
        f"--token-auth-file={directory / 'tokens.csv'}",
        "--authorization-mode=RBAC",
        "--service-cluster-ip-range=10.0.0.0/24",
        # There is no token controller's secret to mount: pods here are processes.
        "--disable-admission-plugins=ServiceAccount",
    ]


def _manager_flags(directory: Path, kubeconfig: Path, port: int) -> list[str]:
    return [
        f"--kubeconfig={kubeconfig}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--cert-dir={directory / 'manager-certificates'}",
        "--leader-elect=false",
        "--use-service-account-credentials=false",
        f"--service-account-private-key-file={directory / 'accounts.key'}",
    ]


def _private(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)


if __name__ == "__main__":
    # `make e2e` builds before the tests start: a first build takes longer than any test may.
    try:
        for name, path in programs().items():
            click.echo(f"{name}: {path}")
    except Unavailable as error:
        raise SystemExit(str(error)) from None
