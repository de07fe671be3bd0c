"""Certificates for tests: an authority, and what it signs, as cert-manager puts them into Secrets."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = 86_400.0
BOTH = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
SERVER_ONLY = (ExtendedKeyUsageOID.SERVER_AUTH,)


@dataclass(frozen=True)
class Issued:
    """A certificate as a Secret holds it."""

    certificate: bytes
    key: bytes
    authority: bytes

    @property
    def pair(self) -> tuple[bytes, bytes]:
        """Certificate and key."""
        return self.certificate, self.key

    @property
    def data(self) -> dict[str, bytes]:
        """By the keys of the Secret."""
        return {"tls.crt": self.certificate, "tls.key": self.key, "ca.crt": self.authority}

    def write(self, directory: Path) -> Path:
        """Put the files into a directory, which is made, as a kubelet does: each whole."""
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in self.data.items():
            fresh = directory / f".{name}"
            fresh.write_bytes(content)
            fresh.replace(directory / name)
        return directory


class Authority:
    """Signs certificates.

    :param now: Unix time from which it is valid; a year.
    """

    def __init__(self, name: str = "tests", now: float | None = None) -> None:
        self._now = datetime.datetime.now(datetime.UTC).timestamp() if now is None else now
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(f"{name} {x509.random_serial_number()}"[:60])
        builder = _builder(self._name, self._name, self._key, self._now - DAY, self._now + 365 * DAY)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self.certificate = _pem(builder.sign(self._key, hashes.SHA256()))

    def issue(
        self,
        *names: str,
        begins: float = -3600.0,
        lasts: float = 90 * DAY,
        usages: Sequence[x509.ObjectIdentifier] | None = BOTH,
    ) -> Issued:
        """A certificate for DNS names and addresses.

        :param begins: seconds from now.
        :param lasts: seconds from its begin.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        begin = self._now + begins
        builder = _builder(_named("member"), self._name, key, begin, begin + lasts)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        if names:
            alternatives = x509.SubjectAlternativeName([_general(name) for name in names])
            builder = builder.add_extension(alternatives, critical=False)
        if usages is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage(list(usages)), critical=False)
        return Issued(
            _pem(builder.sign(self._key, hashes.SHA256())),
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
            self.certificate,
        )


def _named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, begin: float, end: float
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.datetime.fromtimestamp(begin, datetime.UTC))
        .not_valid_after(datetime.datetime.fromtimestamp(end, datetime.UTC))
    )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
