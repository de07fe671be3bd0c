"""Addresses on the command line."""

from __future__ import annotations

import ipaddress
import re

from etl_operator.node.consensus.address import Address

_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?")


def parse_bind(text: str) -> Address:
    """``IP:PORT``, as the published router wants it: a literal address, IPv6 in brackets.

    :raises ValueError: it is something else.
    """
    address = _split(text)
    try:
        ipaddress.ip_address(address.host)
    except ValueError:
        raise ValueError(f"{text!r} is not a literal IP:PORT") from None
    return address


def parse_peer(text: str) -> tuple[int, Address]:
    """``ID:HOST:PORT``.

    :raises ValueError: it is something else.
    """
    number, _, rest = text.partition(":")
    if not number.isdigit() or int(number) < 1:
        raise ValueError(f"{text!r} is not ID:HOST:PORT with an ID above zero")
    return int(number), _split(rest)


def _split(text: str) -> Address:
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not _is_host(host) or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{text!r} is not HOST:PORT")
    return Address(host, int(port))


def _is_host(host: str) -> bool:
    if ":" not in host:
        return _NAME.fullmatch(host) is not None
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True
