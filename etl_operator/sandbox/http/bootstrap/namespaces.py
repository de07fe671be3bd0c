"""What every namespace is given: the service account ``default``, and the authority to trust the server by.

On a real cluster two controllers do it a moment later, and a pod that comes before them waits. Here both are
there before the next request.
"""

from __future__ import annotations

import asyncio
import contextlib

from informers.apiserver.core import ApiServer
from informers.apiserver.errors import StatusError
from informers.apiserver.kinds.table import NAMESPACE
from informers.apiserver.store import Change
from informers.objects import Object, ObjectKey, Resource

_ACCOUNT = Resource("", "v1", "serviceaccounts", "ServiceAccount")
_CONFIG_MAP = Resource("", "v1", "configmaps", "ConfigMap")
_ROOT_CA = "kube-root-ca.crt"
_ABOUT = "kubernetes.io/description"


class NamespaceContents:
    """Keeps them there, also when someone deletes or changes them.

    :param core: is written to; namespaces, accounts and ConfigMaps are followed.
    :param authority: in PEM.
    """

    def __init__(self, core: ApiServer, authority: bytes) -> None:
        self._core = core
        self._authority = authority.decode()
        self._due: set[str] = set()

    def start(self) -> None:
        """Write what is missing now, and follow what happens."""
        for namespace in list(self._core.all(NAMESPACE)):
            self._fill(namespace["metadata"]["name"])
        self._core.subscribe(self._follow)

    def _follow(self, change: Change) -> None:
        if change.resource == NAMESPACE:
            name = change.key.name
        elif (change.resource, change.key.name) in ((_ACCOUNT, "default"), (_CONFIG_MAP, _ROOT_CA)):
            name = change.key.namespace
        else:
            return
        if name not in self._due:
            # A follower must not write: it is called in the middle of a change.
            self._due.add(name)
            asyncio.get_running_loop().call_soon(self._fill, name)

    def _fill(self, name: str) -> None:
        self._due.discard(name)
        namespace = self._core.find(NAMESPACE, ObjectKey("", name))
        if namespace is None or namespace["metadata"].get("deletionTimestamp"):
            return
        # A full disk refuses the writes; the next change of the namespace tries again.
        with contextlib.suppress(StatusError):
            if self._core.find(_ACCOUNT, ObjectKey(name, "default")) is None:
                self._core.create(_object(_ACCOUNT, name, "default"))
            self._publish(name)

    def _publish(self, namespace: str) -> None:
        key, data = ObjectKey(namespace, _ROOT_CA), {"ca.crt": self._authority}
        live = self._core.find(_CONFIG_MAP, key)
        if live is None:
            made = _object(_CONFIG_MAP, namespace, _ROOT_CA)
            text = "Contains a CA bundle that can be used to verify the API server's certificate."
            made["metadata"]["annotations"] = {_ABOUT: text}
            self._core.create({**made, "data": data})
        elif live.get("data") != data:
            self._core.edit(_CONFIG_MAP, key, lambda found: {**found, "data": data})


def _object(resource: Resource, namespace: str, name: str) -> Object:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}
