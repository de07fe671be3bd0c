"""kubeconfig files for the embedded server, with everything embedded: no path in them can go stale."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import yaml

from etl_operator.sandbox.http.files.private import write_private

CLUSTER = "etl-operator-sandbox"


def kubeconfig(url: str, ca_pem: bytes, user: str, token: str, namespace: str = "default") -> dict[str, Any]:
    """A kubeconfig with one cluster, one user and one context, all current."""
    context = {"cluster": CLUSTER, "user": user, "namespace": namespace}
    authority = base64.b64encode(ca_pem).decode()
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": CLUSTER, "cluster": {"server": url, "certificate-authority-data": authority}},
        ],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": CLUSTER, "context": context}],
        "current-context": CLUSTER,
        "preferences": {},
    }


def write_kubeconfig(path: Path, config: dict[str, Any]) -> None:
    """Write it atomically, mode 0600.

    :raises OSError: when the file cannot be written.
    """
    write_private(path, yaml.safe_dump(config, sort_keys=False).encode())
