"""Finding the cluster: kubeconfig files, or the environment of a pod.

Kubeconfigs are read here. The official client, which the extra ``auth-providers`` installs, is asked only for
``auth-provider`` users (OIDC and its kin), whose credentials it loads and renews.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import yaml
from yarl import URL

from informers.client.auth import (
    CredentialSource,
    ExecCredentials,
    FileToken,
    LoadedCredentials,
    StaticCredentials,
    basic,
    bearer,
)
from informers.client.tls import TlsSettings
from informers.clock import Clock, SystemClock
from informers.errors import ConfigError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds its token, its namespace and the authority of the API server."""
_DEFAULT_FILE = Path("~/.kube/config")
_IN_HEADER_NAMES = "!#$&'*+.^`|"
"""Besides what is never escaped; not the percent sign, which escapes."""
_NOT_IN_HOSTS = frozenset(" \\^`{|}")
"""What Go's net/url refuses, and so kubectl; yarl refuses it only in some versions."""
_CLUSTER_INFO = (
    *("server", "tls-server-name", "insecure-skip-tls-verify", "certificate-authority-data"),
    *("proxy-url", "disable-compression", "extensions"),
)
"""Fields of a cluster that are passed to plugins."""


@dataclass(frozen=True, slots=True)
class ClusterAccess:
    """How to reach one API server. Secrets do not show in its ``repr``.

    :param server: URL, with a path prefix where the server has one.
    :param namespace: the default namespace.
    :param proxy: URL of an HTTP proxy, or ``None``.
    :param headers: sent with every request; impersonation.
    """

    server: str
    namespace: str = "default"
    tls: TlsSettings = field(default_factory=TlsSettings)
    credentials: CredentialSource = field(default_factory=StaticCredentials, repr=False)
    proxy: str | None = field(default=None, repr=False)
    headers: Sequence[tuple[str, str]] = ()


def load_default(
    path: str | None = None, *, context: str | None = None, environ: Mapping[str, str] = os.environ
) -> ClusterAccess:
    """Access from ``path``, else ``KUBECONFIG``, else the pod we run in, else ``~/.kube/config``.

    :raises ConfigError: naming the file and the reason.
    """
    if path or environ.get("KUBECONFIG"):
        return load_kubeconfig(path, context=context, environ=environ)
    if environ.get("KUBERNETES_SERVICE_HOST") and context is None:
        return load_in_cluster(environ=environ)
    if _DEFAULT_FILE.expanduser().exists():
        return load_kubeconfig(None, context=context, environ=environ)
    raise ConfigError(
        "no cluster is configured: no kubeconfig was given, KUBECONFIG is not set, this is not a pod, "
        f"and {_DEFAULT_FILE} does not exist"
    )


def load_kubeconfig(
    path: str | None,
    *,
    context: str | None = None,
    environ: Mapping[str, str] = os.environ,
    clock: Clock | None = None,
) -> ClusterAccess:
    """Access from kubeconfig files.

    :param path: one file; without it those in ``KUBECONFIG``, merged (the first to name a thing wins, files
        that do not exist are skipped), else ``~/.kube/config``.
    :param context: instead of the current one.
    :raises ConfigError: naming the file and the reason.
    """
    config = _Merged(_files(path, environ))
    name = context or config.current
    if not name:
        raise ConfigError(f"{config.source}: no current-context is set")
    chosen = config.find("contexts", "context", name)
    cluster = config.find("clusters", "cluster", _text(chosen, "cluster"))
    user_name = chosen.values.get("user")
    user = config.find("users", "user", str(user_name)) if user_name else _Entry({}, cluster.file)
    return ClusterAccess(
        server=_server(cluster),
        namespace=str(chosen.values.get("namespace") or "default"),
        tls=_tls(cluster, user),
        credentials=_credentials(user, cluster, config, name, clock or SystemClock()),
        proxy=_proxy(cluster),
        headers=_impersonation(user),
    )


def load_in_cluster(
    *,
    directory: Path = SERVICE_ACCOUNT,
    environ: Mapping[str, str] = os.environ,
    clock: Clock | None = None,
) -> ClusterAccess:
    """Access from within a pod; its token and authority are read again as they rotate.

    :raises ConfigError: when this is no pod, or it has no service account.
    """
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT")
    if not host or not port:
        raise ConfigError("not in a pod: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set")
    authority = directory / "ca.crt"
    if not authority.is_file():
        raise ConfigError(f"{authority}: does not exist; is the service account mounted?")
    namespace = directory / "namespace"
    return ClusterAccess(
        server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        namespace=namespace.read_text(encoding="ascii").strip() if namespace.is_file() else "default",
        tls=TlsSettings(ca_file=authority),
        credentials=FileToken(directory / "token", clock or SystemClock()),
    )


# -- files -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Entry:
    """A cluster, user or context, and the file it is from: relative paths in it start there."""

    values: Mapping[str, Any] = field(repr=False)
    file: Path

    def error(self, reason: str) -> ConfigError:
        return ConfigError(f"{self.file}: {reason}")

    def mapping(self, name: str) -> Mapping[str, Any]:
        value = self.values.get(name) or {}
        if not isinstance(value, dict):
            raise self.error(f"{name} is not a mapping")
        return value

    def items(self, name: str) -> Sequence[Any]:
        value = self.values.get(name) or ()
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise self.error(f"{name} is not a list")
        return value

    def path(self, name: str) -> Path | None:
        value = self.values.get(name)
        return (self.file.parent / Path(str(value)).expanduser()) if value else None

    def data(self, name: str) -> bytes | None:
        value = self.values.get(name)
        if not value:
            return None
        try:
            # Lines may be broken, as base64 programs do; nothing else may stand in between.
            return base64.b64decode("".join(str(value).splitlines()), validate=True)
        except (binascii.Error, TypeError, ValueError):
            raise self.error(f"{name} is not base64") from None


class _Merged:
    """Several kubeconfig files as one."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = files
        self.source = ", ".join(map(str, files))
        self.current = ""
        self._entries: dict[tuple[str, str], _Entry] = {}
        for file in files:
            document = _read(file)
            self.current = self.current or str(document.get("current-context") or "")
            for section, inner in (("clusters", "cluster"), ("contexts", "context"), ("users", "user")):
                self._take(file, document.get(section) or (), section, inner)

    def find(self, section: str, inner: str, name: str) -> _Entry:
        entry = self._entries.get((section, name))
        if entry is None:
            raise ConfigError(f"{self.source}: there is no {inner} named {name!r}")
        return entry

    def _take(self, file: Path, items: Any, section: str, inner: str) -> None:
        for item in items if isinstance(items, list) else ():
            if not isinstance(item, dict) or not item.get("name"):
                raise ConfigError(f"{file}: an entry of {section} has no name")
            values = item.get(inner)
            if not isinstance(values, dict):
                # `user: null` and `user: {}` are common for users without credentials.
                values = {}
            self._entries.setdefault((section, str(item["name"])), _Entry(values, file))


def _files(path: str | None, environ: Mapping[str, str]) -> list[Path]:
    if path:
        return [Path(path).expanduser()]
    if listed := environ.get("KUBECONFIG"):
        files = [Path(one).expanduser() for one in listed.split(os.pathsep) if one]
        existing = [file for file in files if file.exists()]
        if not existing:
            raise ConfigError(f"{listed}: KUBECONFIG names no file that exists")
        return existing
    return [_DEFAULT_FILE.expanduser()]


def _read(file: Path) -> Mapping[str, Any]:
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror or error}") from None
    except UnicodeError:
        raise ConfigError(f"{file}: not UTF-8") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        # The error itself quotes the text around the problem, which may be a secret.
        where = f" (line {mark.line + 1})" if mark else ""
        raise ConfigError(f"{file}: not YAML{where}") from None
    if document is None:
        # Empty: it says nothing, and others may.
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"{file}: not a kubeconfig")
    return document


# -- the parts -------------------------------------------------------------------------------------


def _text(entry: _Entry, name: str) -> str:
    value = entry.values.get(name)
    if not value:
        raise entry.error(f"{name} is missing")
    return str(value)


def _flag(entry: _Entry, name: str) -> bool:
    value = entry.values.get(name)
    if value is not None and not isinstance(value, bool):
        # Text is not taken for true: least of all "false".
        raise entry.error(f"{name} is neither true nor false")
    return bool(value)


def _is_usable(url: str) -> bool:
    try:
        parts = urlsplit(url)
        URL(url)  # Stricter, and what requests are made of.
        if not _NOT_IN_HOSTS.isdisjoint(parts.netloc):
            return False
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _server(cluster: _Entry) -> str:
    server = _text(cluster, "server")
    if not _is_usable(server):
        raise cluster.error(f"server {server!r} is not an http or https URL")
    return server.rstrip("/")


def _proxy(cluster: _Entry) -> str | None:
    proxy = str(cluster.values.get("proxy-url") or "")
    if not proxy:
        return None
    scheme, colon, _ = proxy.partition(":")
    if scheme.lower() not in ("http", "https"):
        raise cluster.error(
            f"proxy-url: {scheme if colon else 'no'} scheme is not supported, only http and https"
        )
    if not _is_usable(proxy):
        # Without a word of it: there may be a password.
        raise cluster.error("proxy-url is not the URL of a proxy")
    return proxy


def _tls(cluster: _Entry, user: _Entry) -> TlsSettings:
    settings = TlsSettings(
        ca_file=cluster.path("certificate-authority"),
        ca_data=cluster.data("certificate-authority-data"),
        cert_file=user.path("client-certificate"),
        cert_data=user.data("client-certificate-data"),
        key_file=user.path("client-key"),
        key_data=user.data("client-key-data"),
        insecure=_flag(cluster, "insecure-skip-tls-verify"),
        server_name=str(cluster.values.get("tls-server-name") or ""),
    )
    for entry, file, data in (
        (cluster, settings.ca_file, settings.ca_data),
        (user, settings.cert_file, settings.cert_data),
        (user, settings.key_file, settings.key_data),
    ):
        if file is not None and data is None and not file.is_file():
            raise entry.error(f"{file} does not exist")
    has_certificate = settings.cert_file is not None or settings.cert_data is not None
    has_key = settings.key_file is not None or settings.key_data is not None
    if has_certificate != has_key:
        raise user.error("client-certificate and client-key must be set together")
    return settings


def _credentials(
    user: _Entry, cluster: _Entry, config: _Merged, context: str, clock: Clock
) -> CredentialSource:
    values = user.values
    try:
        if file := user.path("tokenFile"):
            return FileToken(file, clock)
        if values.get("token"):
            return StaticCredentials(bearer(str(values["token"])))
        if spec := user.mapping("exec"):
            return ExecCredentials(spec, _cluster_info(cluster), user.file.parent, clock)
    except ConfigError as error:
        raise user.error(str(error)) from None
    if values.get("auth-provider"):
        if find_spec("kubernetes") is None:
            raise user.error(
                "a user with an auth-provider needs the official Kubernetes client; "
                "run pip install '.[auth-providers]' in a clone of etl-operator"
            )
        return LoadedCredentials(_official_loader(config, context), clock)
    if values.get("username"):
        return StaticCredentials(basic(str(values["username"]), str(values.get("password") or "")))
    return StaticCredentials()


def _cluster_info(cluster: _Entry) -> Mapping[str, Any]:
    """The cluster for a plugin, which is not to open files of ours."""
    info = {name: cluster.values[name] for name in _CLUSTER_INFO if name in cluster.values}
    file = cluster.path("certificate-authority")
    if file is not None and not info.get("certificate-authority-data"):
        try:
            info["certificate-authority-data"] = base64.b64encode(file.read_bytes()).decode()
        except OSError as error:
            raise cluster.error(f"{file}: {error.strerror or error}") from None
    return info


def _official_loader(config: _Merged, context: str) -> Any:
    """A blocking function that has the official client load, and where due renew, the credential."""

    def load() -> str | None:
        from kubernetes.client import Configuration
        from kubernetes.config import ConfigException, load_kube_config

        official = Configuration()
        files = os.pathsep.join(map(str, config.files))
        try:
            load_kube_config(files, context=context, client_configuration=official, persist_config=True)
        except ConfigException as error:
            raise ConfigError(f"{config.source}: {error}") from None
        except Exception as error:
            # From anything between here and the identity provider; its words may hold a token.
            raise ConfigError(f"{config.source}: auth-provider: {type(error).__name__}") from None
        header: str | None = official.get_api_key_with_prefix("BearerToken")
        return header

    return load


def _impersonation(user: _Entry) -> list[tuple[str, str]]:
    values = user.values
    headers = []
    if values.get("as"):
        headers.append(("Impersonate-User", str(values["as"])))
    if values.get("as-uid"):
        headers.append(("Impersonate-Uid", str(values["as-uid"])))
    headers += [("Impersonate-Group", str(group)) for group in user.items("as-groups")]
    extras = _Entry(user.mapping("as-user-extra"), user.file)
    for key in map(str, extras.values):
        # Servers take the escapes back: a key is often a domain with a path.
        name = f"Impersonate-Extra-{quote(key, safe=_IN_HEADER_NAMES)}"
        headers += [(name, str(extra)) for extra in extras.items(key)]
    return headers
