"""TLS of gRPC servers and channels."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc

from etl_operator.tls.files import Reloading, TlsError, TlsFiles, check_pair, read

_BEGIN = b"-----BEGIN CERTIFICATE-----"


def server_credentials(files: TlsFiles, *, require: bool) -> grpc.ServerCredentials:
    """Credentials of a server, which follow the files.

    :param require: clients must have a certificate of ``files.authority``.
    :raises TlsError: a file cannot be used.
    """

    def make(content: Sequence[bytes]) -> grpc.ServerCertificateConfiguration:
        # gRPC says nothing about files that do not fit together, and closes every connection.
        check_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), files)
        certificate, key, *authority = content
        if authority:
            _check_authority(files, authority[0])
        return grpc.ssl_server_certificate_configuration(
            [(key, certificate)], authority[0] if require else None
        )

    if require and files.authority is None:
        raise TlsError("client certificates are required, and no authority is given for them")
    configurations = Reloading(files.paths, make)
    first = served = configurations.current()

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        nonlocal served
        now = configurations.current()
        if now is served:
            return None
        served = now
        return now

    # None stands for no change, which the stubs do not know.
    return grpc.dynamic_ssl_server_credentials(first, fetch, require)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class ChannelTls:
    """What a channel needs: PEM, compared by content."""

    authority: bytes | None = None
    """Signs the server's certificate. None: the authorities that gRPC trusts by itself."""
    certificate: bytes | None = None
    """What the channel presents, with its key."""
    key: bytes | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """The same for gRPC."""
        return grpc.ssl_channel_credentials(self.authority, self.key, self.certificate)


def channel_tls(
    authority: Path | None, certificate: Path | None = None, key: Path | None = None
) -> ChannelTls:
    """From files.

    :raises TlsError: a file cannot be used.
    """
    if (certificate is None) != (key is None):
        raise TlsError("a certificate and its key belong together")
    roots = None
    if authority is not None:
        roots = read(authority)
        _check_authority(TlsFiles(authority, authority, authority), roots)
    if certificate is None or key is None:
        return ChannelTls(roots)
    files = TlsFiles(certificate, key)
    check_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), files)
    return ChannelTls(roots, read(certificate), read(key))


def _check_authority(files: TlsFiles, content: bytes) -> None:
    # gRPC would fail with every connection, without a word about the file.
    if _BEGIN not in content:
        raise TlsError(f"{files.authority} has no certificate")
