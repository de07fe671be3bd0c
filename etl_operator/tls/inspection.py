"""What a certificate is good for, found out as its users will: by a handshake, in memory, with itself."""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from etl_operator.tls.files import TlsError, TlsFiles, context_of
from etl_operator.tls.names import names_of

_ANY_TIME = 0x200000
"""``X509_V_FLAG_NO_CHECK_TIME`` of OpenSSL: whether it has expired is judged by the caller's clock."""
_PURPOSE = "purpose"
"""Word of OpenSSL's messages about extended key usages."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What is in a certificate. Times are Unix times."""

    not_before: float
    not_after: float
    names: tuple[str, ...]
    """DNS names and addresses that it is valid for."""


def inspect(certificate: bytes, key: bytes, authority: bytes) -> Inspection:
    """Check that a certificate belongs to a key, is signed by an authority, and serves both ends of a
    connection; return the rest of what is to be known.

    :raises TlsError: it does not; the text calls the three ``tls.crt``, ``tls.key`` and ``ca.crt``.
    """
    with tempfile.TemporaryDirectory(prefix="certificates-") as directory:
        files = TlsFiles(*(Path(directory, name) for name in ("tls.crt", "tls.key", "ca.crt")))
        for path, content in zip(files.paths, (certificate, key, authority), strict=True):
            path.touch(mode=0o600)
            path.write_bytes(content)
        try:
            server, client = (context_of(files, server=server) for server in (True, False))
        except TlsError as error:
            raise TlsError(str(error).replace(f"{directory}/", "")) from None
    client.check_hostname = False
    for context in (server, client):
        context.verify_flags |= _ANY_TIME
    found = _shaken(server, client)
    return Inspection(
        ssl.cert_time_to_seconds(str(found["notBefore"])),
        ssl.cert_time_to_seconds(str(found["notAfter"])),
        tuple(names_of(found)),
    )


def _shaken(server: ssl.SSLContext, client: ssl.SSLContext) -> dict[str, object]:
    """The certificate as the client of a handshake has seen it.

    :raises TlsError: one end does not accept it.
    """
    down, up = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(down, up), server.wrap_bio(up, down, server_side=True)]
    try:
        # Each end needs the other one's last words; a handshake has fewer rounds than this.
        for _ in range(4):
            for end in ends:
                _goes_on(end.do_handshake)
    except ssl.SSLCertVerificationError as error:
        if _PURPOSE in error.verify_message:
            raise TlsError(
                'tls.crt needs the usages "server auth" and "client auth", or none at all'
            ) from None
        raise TlsError(f"tls.crt is not signed by ca.crt: {error.verify_message}") from None
    except ssl.SSLError as error:
        raise TlsError(f"tls.crt cannot be used: {error.reason or error}") from None
    return dict(ends[0].getpeercert() or {})


def _goes_on(handshake: Callable[[], None]) -> None:
    try:
        handshake()
    except ssl.SSLWantReadError:
        return
