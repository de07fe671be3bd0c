"""Whom a certificate names: the comparison of RFC 6125 and RFC 9525, for peers that dialled. Pure.

OpenSSL compares names of servers itself. It does not know which client to expect.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

Certificate = Mapping[str, Any]
"""As :meth:`ssl.SSLObject.getpeercert` returns it."""


def names_of(certificate: Certificate) -> list[str]:
    """DNS names and addresses of the certificate's subjectAltName; the common name does not count."""
    entries = certificate.get("subjectAltName") or ()
    return [str(value) for kind, value in entries if kind in ("DNS", "IP Address")]


def is_for(names: Iterable[str], host: str) -> bool:
    """Whether one of the names is that of a host. A ``*`` stands for the first label alone."""
    wanted = _address(host)
    if wanted is not None:
        return any(_address(name) == wanted for name in names)
    host = host.rstrip(".").lower()
    parent = host.partition(".")[2]
    return any(
        name == host or (name.startswith("*.") and bool(parent) and name[2:] == parent)
        for name in (one.rstrip(".").lower() for one in names)
    )


def is_member(names: Iterable[str], pattern: str) -> bool:
    """Whether one of the names is below the domain of a pattern such as ``*.main-headless.etl.svc``."""
    domain = pattern.removeprefix("*.").rstrip(".").lower()
    return any(name.rstrip(".").lower().partition(".")[2] == domain for name in names)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text.strip())
    except ValueError:
        return None
