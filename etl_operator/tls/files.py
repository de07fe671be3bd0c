"""Certificates in PEM files, as a Secret is mounted: read again when they have changed.

There is no timer: whoever begins a connection asks for what is current, and the files are looked at then.
Connections that exist continue with what they began with.
"""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")


class TlsError(Exception):
    """The files cannot be used; the text names them and says why."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files of one end of a connection."""

    certificate: Path
    """Of this end, first, with the authorities between it and the one that the other end trusts."""
    key: Path
    authority: Path | None = None
    """What the other end's certificate must be signed by. None: it is not asked for."""

    @property
    def paths(self) -> list[Path]:
        """All that are given."""
        return [one for one in (self.certificate, self.key, self.authority) if one is not None]


class Reloading(Generic[T]):
    """Something made of files.

    :param paths: the files.
    :param make: gets their content, in the same order.
    :raises TlsError: a file cannot be read, or ``make`` raises it.
    """

    def __init__(self, paths: Sequence[Path], make: Callable[[Sequence[bytes]], T]) -> None:
        self._paths = list(paths)
        self._make = make
        # gRPC asks from threads of its own.
        self._lock = threading.Lock()
        self._trouble = ""
        self._seen, self._current = self._load()

    def current(self) -> T:
        """What is in the files now. If they cannot be used, the last good one; the log says why, once."""
        with self._lock:
            if _stamps(self._paths) != self._seen:
                self._reload()
            return self._current

    def _reload(self) -> None:
        try:
            self._seen, self._current = self._load()
        except TlsError as error:
            # Half a rotation is looked at again with the next connection.
            if str(error) != self._trouble:
                log.warning("the certificates from before stay in use: %s", error)
            self._trouble = str(error)
        else:
            self._trouble = ""
            log.info("loaded new certificates from %s", self._paths[0])

    def _load(self) -> tuple[object, T]:
        before = _stamps(self._paths)
        made = self._make([read(path) for path in self._paths])
        if _stamps(self._paths) != before:
            raise TlsError(f"{self._paths[0]}: it is being replaced")
        return before, made


def read(path: Path) -> bytes:
    """The content of a file.

    :raises TlsError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise TlsError(f"{path}: {error.strerror or error}") from None


def _stamps(paths: Sequence[Path]) -> object:
    found: list[object] = []
    for path in paths:
        try:
            stat = path.stat()
        except OSError as error:
            found.append(error.errno)
        else:
            found.append((stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return found


def context_of(files: TlsFiles, *, server: bool) -> ssl.SSLContext:
    """A context of the ``ssl`` module with the certificate and the authority.

    :raises TlsError: a file cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Authorities made by common tools lack extensions that Python 3.13 began to insist on.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    check_pair(context, files)
    if files.authority is not None:
        try:
            context.load_verify_locations(files.authority)
        except OSError as error:
            raise TlsError(f"{files.authority} has no usable certificate authority: {_why(error)}") from None
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def check_pair(context: ssl.SSLContext, files: TlsFiles) -> None:
    """Load certificate and key.

    :raises TlsError: one of them cannot be used, or they do not belong together.
    """
    for path in files.paths:
        read(path)
    try:
        # An empty password instead of a question on the terminal.
        context.load_cert_chain(files.certificate, files.key, password=b"")
    except (OSError, ValueError) as error:
        why = _why(error)
        raise TlsError(
            f"{files.certificate} and {files.key} cannot be used as certificate and key: {why}"
        ) from None


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).replace("_", " ").lower()
    return str(error.strerror if isinstance(error, OSError) and error.strerror else error)
