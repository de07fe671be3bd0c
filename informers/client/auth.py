"""Who we are to the API server: credentials that know how to renew themselves.

A credential never shows in a ``repr``, a log line or an error. Whatever blocks runs in a thread or in a
process of its own; requests that need a renewal at the same time share one.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import os
import shutil
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from informers.clock import Clock
from informers.errors import ConfigError

log = logging.getLogger(__name__)

TOKEN_FILE_PERIOD = 60.0
"""Seconds after which a token file is read again; the kubelet replaces it long before the token expires."""
PLUGIN_TIMEOUT = 60.0
"""Seconds a credential plugin may take."""
_EARLY = 30.0
"""Seconds before its expiry a credential is renewed; a tenth of its life if that is shorter."""
_FAILURE_REST = 2.0
"""Seconds a failure to load stands for all who ask, and so does a credential that has expired already."""
_STATUS = ("token", "clientCertificateData", "clientKeyData", "expirationTimestamp")
"""What is read of a plugin's answer; all of it text."""
_EXTENSION = "client.authentication.k8s.io/exec"
_RENEWALS = 6
_RENEWAL_PERIOD = 60.0
"""At most so many renewals after a 401 in so many seconds."""


@dataclass(frozen=True, slots=True)
class Credential:
    """What is presented to the server.

    :param authorization: the value of the ``Authorization`` header, or ``None``.
    :param certificate: client certificate as PEM, with ``key``, where a plugin gave one.
    """

    authorization: str | None = field(default=None, repr=False)
    certificate: bytes | None = field(default=None, repr=False)
    key: bytes | None = field(default=None, repr=False)


def bearer(token: str) -> Credential:
    """The credential of a bearer token."""
    return Credential(f"Bearer {token.strip()}")


def basic(username: str, password: str) -> Credential:
    """The credential of a user name and a password."""
    return Credential("Basic " + base64.b64encode(f"{username}:{password}".encode()).decode())


class CredentialSource(Protocol):
    """Where the transport gets its credential, for every request again."""

    async def current(self) -> Credential:
        """A credential that should be good now.

        :raises ConfigError: when none can be had.
        """
        ...

    async def renewed(self, rejected: Credential) -> Credential:
        """A fresh credential after the server rejected one; the same one when there is no other.

        :raises ConfigError: when none can be had.
        """
        ...


class StaticCredentials:
    """A credential that never changes."""

    def __init__(self, credential: Credential | None = None) -> None:
        self._credential = credential or Credential()

    async def current(self) -> Credential:
        return self._credential

    async def renewed(self, rejected: Credential) -> Credential:
        return self._credential


class RenewableCredentials:
    """Keeps what :meth:`_load` gave until it is due, and loads it once however many ask at once.

    Neither a source that fails nor a server that rejects everything can make it load without pause.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._credential: Credential | None = None
        self._loading = asyncio.Lock()
        self._failure: ConfigError | None = None
        self._failed_at = float("-inf")
        self._renewals: deque[float] = deque(maxlen=_RENEWALS)

    async def current(self) -> Credential:
        if self._credential is not None and not self._due():
            return self._credential
        async with self._loading:
            if self._credential is None or self._due():
                self._credential = await self._attempt()
            return self._credential

    async def renewed(self, rejected: Credential) -> Credential:
        async with self._loading:
            if self._credential is None or (self._credential == rejected and self._may_renew()):
                self._renewals.append(self._clock.time())
                self._credential = await self._attempt()
            return self._credential

    async def _attempt(self) -> Credential:
        now = self._clock.time()
        if self._failure is not None and 0 <= now - self._failed_at < _FAILURE_REST:
            raise ConfigError(str(self._failure))
        try:
            credential = await self._load()
        except ConfigError as error:
            self._failure, self._failed_at = error, now
            raise
        self._failure = None
        return credential

    def _may_renew(self) -> bool:
        """Whether renewals after rejections have not been too many of late."""
        full = len(self._renewals) == _RENEWALS
        return not (full and 0 <= self._clock.time() - self._renewals[0] < _RENEWAL_PERIOD)

    def _due(self) -> bool:
        raise NotImplementedError

    async def _load(self) -> Credential:
        raise NotImplementedError


class FileToken(RenewableCredentials):
    """A bearer token in a file that someone else replaces from time to time.

    :raises ConfigError: when the file cannot be read or is empty.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        super().__init__(clock)
        self._path = path
        self._credential = self._read()
        # The wall clock: at load time there may be no event loop yet.
        self._read_at = clock.time()

    def _due(self) -> bool:
        return not 0 <= self._clock.time() - self._read_at < TOKEN_FILE_PERIOD

    async def _load(self) -> Credential:
        self._read_at = self._clock.time()
        try:
            return await asyncio.to_thread(self._read)
        except ConfigError as error:
            # A file that is being replaced may be missing for a moment; the old token may well be good.
            log.warning("using the last token: %s", error)
            assert self._credential is not None
            return self._credential

    def _read(self) -> Credential:
        try:
            token = self._path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeError) as error:
            raise ConfigError(f"{self._path}: cannot read the token: {_reason(error)}") from None
        if not token:
            raise ConfigError(f"{self._path}: the token file is empty")
        return bearer(token)


class ExecCredentials(RenewableCredentials):
    """The ``exec`` plugin of a kubeconfig: a program that prints an ``ExecCredential``.

    :param spec: the ``exec`` mapping of the user.
    :param cluster: the cluster as the kubeconfig has it; passed to plugins with ``provideClusterInfo``.
    :param directory: where the kubeconfig lies; relative commands start there.
    :raises ConfigError: when the mapping cannot work.
    """

    def __init__(
        self, spec: Mapping[str, Any], cluster: Mapping[str, Any], directory: Path, clock: Clock
    ) -> None:
        super().__init__(clock)
        for name in ("command", "apiVersion"):
            if not spec.get(name):
                raise ConfigError(f"exec: {name} is missing")
        if spec.get("interactiveMode") == "Always":
            raise ConfigError(f"exec: {spec['command']} needs a terminal (interactiveMode: Always)")
        self._spec = spec
        self._arguments = [str(one) for one in _list(spec, "args")]
        self._variables: dict[str, str] = {}
        for item in _list(spec, "env"):
            if not isinstance(item, dict) or not item.get("name"):
                raise ConfigError("exec: an entry of env has no name")
            self._variables[str(item["name"])] = str(item.get("value") or "")
        self._cluster = cluster
        # A plugin runs there, so nothing may be relative to where we run.
        self._directory = directory.absolute()
        self._renew_at: float | None = None

    def _due(self) -> bool:
        return self._renew_at is not None and self._clock.time() >= self._renew_at

    async def _load(self) -> Credential:
        output = await self._run()
        try:
            answer = json.loads(output)
            status = answer["status"]
            if answer.get("kind") != "ExecCredential" or not isinstance(status, dict):
                raise ValueError
            for name in _STATUS:
                if not isinstance(status.get(name, ""), str | None):
                    raise ValueError
        except (ValueError, KeyError, TypeError, RecursionError):
            # Not a word of the output: it may hold a token.
            raise ConfigError(f"exec: {self._command} printed no ExecCredential") from None
        if answer.get("apiVersion") != self._spec["apiVersion"]:
            raise ConfigError(
                f"exec: {self._command} answered in {answer.get('apiVersion')}, "
                f"not in {self._spec['apiVersion']}"
            )
        return self._accept(status)

    def _accept(self, status: Mapping[str, Any]) -> Credential:
        token = status.get("token")
        certificate, key = status.get("clientCertificateData"), status.get("clientKeyData")
        if not token and not (certificate and key):
            raise ConfigError(f"exec: {self._command} gave neither a token nor a certificate with its key")
        self._renew_at = self._when_to_renew(status.get("expirationTimestamp"))
        return Credential(
            bearer(token).authorization if token else None,
            certificate.encode() if certificate and key else None,
            key.encode() if certificate and key else None,
        )

    def _when_to_renew(self, expiration: str | None) -> float | None:
        if not expiration:
            return None
        try:
            expires = datetime.fromisoformat(expiration)
        except ValueError:
            raise ConfigError(
                f"exec: {self._command}: expirationTimestamp {expiration!r} is no time"
            ) from None
        if expires.tzinfo is None:
            expires = expires.replace(tzinfo=UTC)
        now = self._clock.time()
        life = expires.timestamp() - now
        # With a clock that is wrong everything has expired always; a plugin must not run for every request.
        return max(expires.timestamp() - min(_EARLY, max(life, 0.0) / 10), now + _FAILURE_REST)

    @property
    def _command(self) -> str:
        return str(self._spec["command"])

    def _program(self) -> Path:
        command = self._command
        if os.sep in command:
            command = str(self._directory / command)
        found = shutil.which(command)
        if found is None:
            hint = f" ({self._spec['installHint']})" if self._spec.get("installHint") else ""
            raise ConfigError(f"exec: {self._command}: no such program{hint}")
        return Path(found).absolute()

    async def _run(self) -> bytes:
        program = self._program()
        try:
            process = await asyncio.create_subprocess_exec(
                program,
                *self._arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd=self._directory,
                env=self._environment(),
            )
        except (OSError, ValueError) as error:
            # No program at all, or one that is being replaced.
            raise ConfigError(f"exec: {self._command} cannot be started: {_reason(error)}") from None
        try:
            async with asyncio.timeout(PLUGIN_TIMEOUT):
                output, complaint = await process.communicate()
        except TimeoutError:
            raise ConfigError(f"exec: {self._command} took longer than {PLUGIN_TIMEOUT:.0f} s") from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if process.returncode:
            last = complaint.decode(errors="replace").strip().rpartition("\n")[2]
            raise ConfigError(f"exec: {self._command} ended with {process.returncode}: {last}")
        return output

    def _environment(self) -> dict[str, str]:
        info: dict[str, Any] = {"interactive": False}
        if self._spec.get("provideClusterInfo"):
            info["cluster"] = {k: v for k, v in self._cluster.items() if k != "extensions"}
            for extension in self._cluster.get("extensions") or ():
                if isinstance(extension, dict) and extension.get("name") == _EXTENSION:
                    info["cluster"]["config"] = extension.get("extension")
        request = {"apiVersion": self._spec["apiVersion"], "kind": "ExecCredential", "spec": info}
        # YAML has more types than JSON, such as dates.
        described = json.dumps(request, default=str)
        return {**os.environ, **self._variables, "KUBERNETES_EXEC_INFO": described}


class LoadedCredentials(RenewableCredentials):
    """Credentials of the old ``auth-provider`` kind, left to the official client, which renews them.

    :param load: blocking; returns the value of the ``Authorization`` header. Runs in a thread.
    """

    def __init__(self, load: Callable[[], str | None], clock: Clock) -> None:
        super().__init__(clock)
        self._load_blocking = load
        self._loaded_at = clock.time()

    def _due(self) -> bool:
        return not 0 <= self._clock.time() - self._loaded_at < TOKEN_FILE_PERIOD

    async def _load(self) -> Credential:
        self._loaded_at = self._clock.time()
        return Credential(await asyncio.to_thread(self._load_blocking))


def _list(spec: Mapping[str, Any], name: str) -> Sequence[Any]:
    value = spec.get(name) or []
    if not isinstance(value, list):
        raise ConfigError(f"exec: {name} is not a list")
    return value


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
