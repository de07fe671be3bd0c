"""How far TLS has come in a cluster, and what its next template asks for. Pure.

Members without TLS and members that require it cannot talk. Between the two is a mode in which ports accept
both and members dial with TLS first: a cluster gets TLS by two rolling restarts, and loses it by two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from controllers.members import naming
from controllers.members.facts import PodFacts
from etl_operator.api import EtlRouterCluster
from informers.objects import Object

TLS_DIR = "/etc/etl-router-tls"
CA_DIR = "/etc/etl-router-ca"
SERVICES_DIR = "/etc/etl-router-services"
_VOLUME, _CA_VOLUME, _SERVICES_VOLUME = "tls", "tls-ca", "services-tls"


@dataclass(frozen=True, slots=True)
class Encryption:
    """What the template of the pods says about TLS."""

    mode: str = naming.PLAIN
    """``naming.PLAIN``, ``naming.MIXED`` or ``naming.ENCRYPTED``."""
    secret: str = ""
    """Secret with ``tls.crt`` and ``tls.key``, and ``ca.crt`` where there is no ``ca_secret``."""
    ca_secret: str = ""
    client_auth: bool = False
    services: tuple[str, ...] = ()
    """Secrets that services of the cluster name, for calls to them; sorted."""


def wanted_encryption(cluster: EtlRouterCluster, services: Sequence[str] = ()) -> Encryption:
    """What the spec asks for in the end."""
    tls = cluster.spec.tls
    if tls is None:
        return Encryption(services=tuple(services))
    return Encryption(
        naming.MIXED if tls.plaintext == "Allow" else naming.ENCRYPTED,
        tls.secret_name or "",
        tls.ca_secret_name or "",
        tls.client_auth == "Require",
        tuple(services),
    )


def next_encryption(
    wanted: Encryption, live: Object | None, pods: Sequence[PodFacts], *, complete: bool
) -> Encryption:
    """What the template asks for now, on the way to ``wanted``.

    :param live: the observed StatefulSet; ``None`` before it exists.
    :param complete: all pods that there should be are there, and none comes up with an older template. They
        need not be ready: what keeps them from it may be what is taken back.
    """
    if live is None:
        return wanted
    present = encryption_of(live)
    services = present.services if set(wanted.services) <= set(present.services) else wanted.services
    wanted = replace(wanted, services=services)
    if naming.MIXED in (wanted.mode, present.mode) and wanted.mode != present.mode:
        # To or from the middle: the pods that the middle was for must be gone.
        opposite = {naming.PLAIN: naming.ENCRYPTED, naming.ENCRYPTED: naming.PLAIN}.get(wanted.mode)
        if wanted.mode == naming.MIXED or (complete and all(pod.tls != opposite for pod in pods)):
            return wanted
    elif wanted.mode == present.mode:
        return wanted
    if wanted.mode == naming.PLAIN:
        # The spec names the Secrets no longer, and they are needed until nobody uses TLS.
        return replace(present, mode=naming.MIXED, client_auth=False, services=services)
    return replace(wanted, mode=naming.MIXED)


def encryption_of(live: Object) -> Encryption:
    """What the template of a StatefulSet says."""
    template = live["spec"]["template"]
    annotations = template.get("metadata", {}).get("annotations") or {}
    volumes: Mapping[str, Any] = {one["name"]: one for one in template["spec"].get("volumes") or ()}
    return Encryption(
        annotations.get(naming.TLS_ANNOTATION, naming.PLAIN),
        _secret_of(volumes.get(_VOLUME)),
        _secret_of(volumes.get(_CA_VOLUME)),
        services=naming.service_secrets(annotations),
    )


def _secret_of(volume: Mapping[str, Any] | None) -> str:
    return str(((volume or {}).get("secret") or {}).get("secretName") or "")


def annotations_of(encryption: Encryption) -> dict[str, str]:
    """For the template: how its pods are called, and which Secrets they mount."""
    found = {}
    if encryption.mode != naming.PLAIN:
        found[naming.TLS_ANNOTATION] = encryption.mode
    if encryption.services:
        found[naming.SERVICE_SECRETS_ANNOTATION] = ",".join(encryption.services)
    return found


def flags_of(encryption: Encryption, domain: str) -> list[str]:
    """Flags of the router.

    :param domain: DNS domain of the cluster's headless Service.
    """
    flags: list[str] = []
    if encryption.mode != naming.PLAIN:
        pair = {"cert": f"{TLS_DIR}/tls.crt", "key": f"{TLS_DIR}/tls.key"}
        pair["ca"] = f"{CA_DIR if encryption.ca_secret else TLS_DIR}/ca.crt"
        flags += [f"--{use}-{what}={path}" for use in ("tls", "raft-tls") for what, path in pair.items()]
        flags.append(f"--raft-tls-name=*.{domain}")
        flags.append(f"--tls-client-auth={'require' if encryption.client_auth else 'none'}")
        flags.append(f"--tls-plaintext={'allow' if encryption.mode == naming.MIXED else 'deny'}")
    if encryption.services:
        flags.append(f"--service-tls-dir={SERVICES_DIR}")
    return flags


def volumes_of(encryption: Encryption) -> list[dict[str, Any]]:
    """Volumes of the pod."""
    found: list[dict[str, Any]] = []
    if encryption.mode != naming.PLAIN:
        found.append({"name": _VOLUME, "secret": {"secretName": encryption.secret}})
        if encryption.ca_secret:
            found.append({"name": _CA_VOLUME, "secret": {"secretName": encryption.ca_secret}})
    if encryption.services:
        sources = [{"secret": _service_source(name)} for name in encryption.services]
        found.append({"name": _SERVICES_VOLUME, "projected": {"sources": sources}})
    return found


def _service_source(name: str) -> dict[str, Any]:
    # Optional: a Secret that is missing must not keep the router from starting. It appears in the running
    # pod when it is created.
    items = [{"key": key, "path": f"{name}/{key}"} for key in ("ca.crt", "tls.crt", "tls.key")]
    return {"name": name, "optional": True, "items": items}


def mounts_of(encryption: Encryption) -> list[dict[str, Any]]:
    """Mounts of the router's container."""
    where = {_VOLUME: TLS_DIR, _CA_VOLUME: CA_DIR, _SERVICES_VOLUME: SERVICES_DIR}
    return [
        {"name": volume["name"], "mountPath": where[volume["name"]], "readOnly": True}
        for volume in volumes_of(encryption)
    ]
