"""Replaces cluster DNS names in arguments and environment of a container by addresses. Pure.

Only in command, args and environment values: files stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable

PodAddress = Callable[[str, str, str], str | None]
"""(pod, service, namespace) to an address, or ``None`` where the name means nothing."""
ServiceAddress = Callable[[str, str, int | None], tuple[str, int | None] | None]
"""(service, namespace, port or ``None``) to an address and port."""

_LABEL = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"


class NameRewriter:
    """Replaces ``pod.service.namespace.svc`` and ``service.namespace.svc``, with or without the domain.

    :param domain: the cluster domain, such as ``cluster.local``.
    """

    def __init__(self, domain: str, pod: PodAddress, service: ServiceAddress) -> None:
        self._pod = pod
        self._service = service
        self._pattern = re.compile(
            rf"(?<![-.\w])(?:(?P<pod>{_LABEL})\.)?(?P<service>{_LABEL})\.(?P<namespace>{_LABEL})\.svc"
            rf"(?:\.{re.escape(domain)})?\.?(?![-\w]|\.\w)(?::(?P<port>\d{{1,5}}))?"
        )

    def rewrite(self, value: str) -> str:
        """The value with every known name replaced; what is not known stays."""
        return self._pattern.sub(self._replace, value) if ".svc" in value else value

    def _replace(self, match: re.Match[str]) -> str:
        port = int(match["port"]) if match["port"] else None
        if match["pod"]:
            address = self._pod(match["pod"], match["service"], match["namespace"])
            found = (address, port) if address else None
        else:
            found = self._service(match["service"], match["namespace"], port)
        if found is None:
            return match[0]
        host, port = found
        return host if port is None else f"{host}:{port}"
