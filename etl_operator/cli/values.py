"""Values of flags that are checked before anything starts: a wrong one would be waited for in silence."""

from __future__ import annotations

import re

import click

_LABEL = "[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_NAMESPACE = re.compile(_LABEL)
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")


def namespace(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """The name of a namespace.

    :raises click.BadParameter: when no namespace can be called so.
    """
    if value is not None and not _NAMESPACE.fullmatch(value):
        raise click.BadParameter(
            f"{value!r} is not a valid namespace: use at most 63 lower case letters, digits and '-', with a "
            "letter or digit at both ends"
        )
    return value


def namespaces(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    """Several of them; see :func:`namespace`."""
    for one in value:
        namespace(context, parameter, one)
    return value


def domain(_: click.Context, __: click.Parameter, value: str) -> str:
    """A DNS domain.

    :raises click.BadParameter: when it is none.
    """
    if len(value) > 253 or not _DOMAIN.fullmatch(value):
        raise click.BadParameter(f"{value!r} is not a DNS domain, such as cluster.local")
    return value


def bind_address(_: click.Context, __: click.Parameter, value: str) -> str:
    """``HOST:PORT`` to listen on, or ``0``.

    :raises click.BadParameter: when it is neither.
    """
    _host, colon, port = value.rpartition(":")
    if value != "0" and not (colon and port.isascii() and port.isdigit() and int(port[:6]) <= 65_535):
        raise click.BadParameter(f"{value!r} is not HOST:PORT, such as :8080 or 127.0.0.1:8080, and not 0")
    return value
