"""Certificates for tests: self-signed, for 127.0.0.1."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.x509.oid import NameOID


def pair(*, rsa: bool = False) -> tuple[bytes, bytes]:
    """A new certificate and its key, as PEM. It is its own authority.

    :param rsa: with a key of that kind; an elliptic one by default.
    """
    key = generate_private_key(65537, 2048) if rsa else ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    # Authorities are looked up by name: each needs one of its own.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"test {serial}"[:64])])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM), key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def write_pair(directory: Path) -> bytes:
    """Put a new pair into a directory, as a Secret would be mounted there; the certificate."""
    certificate, key = pair()
    (directory / "tls.crt").write_bytes(certificate)
    (directory / "tls.key").write_bytes(key)
    return certificate
