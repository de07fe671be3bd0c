"""What an endpoint's host means: a name of the object's namespace, wherever it is looked up. Pure.

The names are tried that a pod of that namespace would try, as kubelet writes its ``resolv.conf``: ``search
<namespace>.svc.<domain> svc.<domain> <domain>`` and ``ndots:5``. What the node's own search list would add is
left out.
"""

from __future__ import annotations

import ipaddress

NDOTS = 5
"""A name with fewer dots is looked for in the search list first (``options ndots:5``)."""


def candidates(host: str, namespace: str, domain: str) -> list[str]:
    """Absolute names a host may stand for, in the order of trying, without a dot at the end.

    An address stands for itself.

    :param namespace: of the object that names the host.
    :param domain: of the Kubernetes cluster.
    """
    if is_address(host) or host.endswith("."):
        return [host.removesuffix(".")]
    absolute = [host]
    if host.lower().endswith(f".svc.{domain.lower()}"):
        # A pod would try its search list first all the same, and find nothing.
        return absolute
    searched = [f"{host}.{suffix}" for suffix in (f"{namespace}.svc.{domain}", f"svc.{domain}", domain)]
    return searched + absolute if host.count(".") < NDOTS else absolute + searched


def is_address(host: str) -> bool:
    """Whether the host is an IP address, IPv6 without brackets."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def seen_from(host: str, namespace: str, other: str, domain: str) -> str:
    """The host as one writes it in another namespace, for whoever looks it up there.

    A name without a dot is a Service of the object's namespace; any other means the same everywhere.

    :param namespace: of the object that names the host.
    :param other: the namespace it is looked up in.
    """
    if namespace == other or "." in host or is_address(host):
        return host
    return f"{host}.{namespace}.svc.{domain}"
