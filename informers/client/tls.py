"""TLS towards the API server: verified, with the cluster's own authority, following rotated files."""

from __future__ import annotations

import logging
import ssl
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from informers.client.auth import Credential
from informers.errors import ConfigError

log = logging.getLogger(__name__)

_CHECK_PERIOD = 10.0
"""Seconds between looks at the files' modification times."""


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """What to trust and what to show. Data wins over a file of the same purpose.

    :param insecure: do not verify the server; only if the kubeconfig says so.
    :param server_name: the name the server's certificate must bear, where it is not the host's.
    """

    ca_file: Path | None = None
    ca_data: bytes | None = field(default=None, repr=False)
    cert_file: Path | None = None
    cert_data: bytes | None = field(default=None, repr=False)
    key_file: Path | None = None
    key_data: bytes | None = field(default=None, repr=False)
    insecure: bool = False
    server_name: str = ""


class TlsContexts:
    """Hands out the context for new connections, and a new one when a file or the credential has changed."""

    def __init__(self, settings: TlsSettings) -> None:
        self._settings = settings
        self._checked_at = float("-inf")
        self._stamp: tuple[object, ...] = ()
        self._credential = Credential()
        self._context: ssl.SSLContext | None = None

    def context(self, credential: Credential, now: float) -> ssl.SSLContext:
        """The context to use now.

        :param credential: its certificate, where it has one, goes before the settings'.
        :param now: reading of a monotonic clock.
        :raises ConfigError: naming the file, when one cannot be used.
        """
        same = credential.certificate == self._credential.certificate
        if self._context is not None and same and now - self._checked_at < _CHECK_PERIOD:
            return self._context
        stamp = self._modified()
        if self._context is None or not same or stamp != self._stamp:
            try:
                self._context = self._build(credential)
            except ConfigError as error:
                if self._context is None or not same:
                    raise
                # Half a rotation: what is loaded stays in use until the other half is there.
                log.warning("%s; using the old files", error)
            else:
                self._stamp, self._credential = stamp, credential
        self._checked_at = now
        return self._context

    def _modified(self) -> tuple[object, ...]:
        stamps: list[object] = []
        for file in (self._settings.ca_file, self._settings.cert_file, self._settings.key_file):
            try:
                stamps.append(file.stat().st_mtime_ns if file is not None else None)
            except OSError:
                # Being replaced right now: what is loaded stays in use.
                return self._stamp
        return tuple(stamps)

    def _build(self, credential: Credential) -> ssl.SSLContext:
        settings = self._settings
        if settings.insecure:
            log.warning("the API server's certificate is not verified: insecure-skip-tls-verify is set")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        else:
            context = self._trusting()
        if credential.certificate is not None and credential.key is not None:
            _load_pair(context, credential.certificate, credential.key)
        elif settings.cert_file is not None or settings.cert_data is not None:
            certificate = _content(settings.cert_data, settings.cert_file, "client certificate")
            _load_pair(context, certificate, _content(settings.key_data, settings.key_file, "client key"))
        return context

    def _trusting(self) -> ssl.SSLContext:
        settings = self._settings
        if settings.ca_data is None and settings.ca_file is None:
            context = ssl.create_default_context()
        else:
            content = _content(settings.ca_data, settings.ca_file, "certificate authority")
            # Anything may stand between certificates, in any encoding.
            authority = content.decode("ascii", "ignore")
            try:
                # Without this, an empty file would mean: trust whatever the machine trusts.
                if not authority.strip():
                    raise ValueError
                context = ssl.create_default_context(cadata=authority)
            except (ssl.SSLError, ValueError):
                where = settings.ca_file if settings.ca_data is None else "certificate-authority-data"
                raise ConfigError(f"{where}: no usable certificate authority") from None
        # Cluster authorities made by common tools lack extensions that Python 3.13 began to insist on.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context


def _content(data: bytes | None, file: Path | None, what: str) -> bytes:
    if data is not None:
        return data
    assert file is not None
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file}: cannot read the {what}: {error.strerror or error}") from None


def _load_pair(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """The ssl module takes a pair from files only; these live in a private directory for a moment."""
    try:
        _load_pair_from_files(context, certificate, key)
    except (ssl.SSLError, ValueError):
        raise ConfigError("client certificate and key cannot be used, or do not match") from None
    except OSError as error:
        raise ConfigError(f"cannot write a temporary file for the client certificate: {error}") from None


def _load_pair_from_files(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    with tempfile.TemporaryDirectory(prefix="client-pair-") as directory:
        files = Path(directory, "tls.crt"), Path(directory, "tls.key")
        for file, content in zip(files, (certificate, key), strict=True):
            file.touch(mode=0o600)
            file.write_bytes(content)
        # An empty password instead of a question on the terminal.
        context.load_cert_chain(*files, password=b"")
