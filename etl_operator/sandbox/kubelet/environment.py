"""A container's command and environment, as its process gets them. Pure.

Values come from the spec, the downward API, ConfigMaps and Secrets; ``$(NAME)`` is expanded; then the paths
of volume mounts become the directories behind them, and cluster DNS names addresses.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from informers.apiserver.values.quantity import parse
from informers.objects import Object

Lookup = Callable[[str, str], Object | None]
"""(``ConfigMap`` or ``Secret``, name) to the object in the pod's namespace."""

ACCOUNT_DIRECTORY = "/var/run/secrets/kubernetes.io/serviceaccount"
"""Where a container finds the token of its ServiceAccount."""

API_SERVER = "kubernetes.default.svc:443"
"""The API server as the Service of every cluster names it."""

_REFERENCE = re.compile(r"\$\$|\$\(([-._a-zA-Z0-9]+)\)")
_SUBSCRIPT = re.compile(r"^metadata\.(labels|annotations)\['(.+)'\]$")


class ConfigMissing(Exception):
    """The container cannot be made: something its environment refers to is missing."""


def environment(container: Mapping[str, Any], pod: Object, host: str, find: Lookup) -> dict[str, str]:
    """The variables of a container, in the order in which they are declared.

    :param host: the pod's address, for the fields that the status may not show yet.
    :raises ConfigMissing: when a ConfigMap, Secret, key or field that is not optional does not exist.
    """
    values: dict[str, str] = {}
    for source in container.get("envFrom") or ():
        values |= _all_of(source, find)
    for entry in container.get("env") or ():
        if "valueFrom" in entry:
            found = _value_from(entry["valueFrom"], pod, host, container, find)
            if found is not None:
                values[entry["name"]] = found
        else:
            values[entry["name"]] = expand(entry.get("value") or "", values)
    return values


def api_server_variables(place: str) -> dict[str, str]:
    """How a container finds the API server.

    :param place: :data:`API_SERVER` as its process reaches it, or unchanged where nobody knows.
    """
    host, _, port = place.rpartition(":")
    if place == API_SERVER:
        return {}
    return {
        "KUBERNETES_SERVICE_HOST": host,
        "KUBERNETES_SERVICE_PORT": port,
        "KUBERNETES_SERVICE_PORT_HTTPS": port,
    }


def proxy_variables(proxy: str, namespace: str) -> dict[str, str]:
    """How the gRPC of a container finds cluster DNS names.

    :param proxy: URL of the name proxy; "" for none.
    :param namespace: the pod's, in which names without a namespace are looked up.
    """
    if not proxy:
        return {}
    scheme, _, place = proxy.partition("://")
    return {"grpc_proxy": f"{scheme}://{namespace}@{place}", "no_grpc_proxy": "127.0.0.0/8"}


def kubeconfig(server: str, account: str, namespace: str) -> Object:
    """A kubeconfig of the pod's ServiceAccount.

    Programs look for its token in a fixed directory, which a process does not have; nearly all of them look
    at ``KUBECONFIG`` before.

    :param server: URL of the API server.
    :param account: the directory with ``token`` and ``ca.crt``.
    """
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "pod", "cluster": {"server": server, "certificate-authority": f"{account}/ca.crt"}}
        ],
        "users": [{"name": "pod", "user": {"tokenFile": f"{account}/token"}}],
        "contexts": [{"name": "pod", "context": {"cluster": "pod", "user": "pod", "namespace": namespace}}],
        "current-context": "pod",
    }


def expand(value: str, values: Mapping[str, str]) -> str:
    """``$(NAME)`` replaced where the name is known; ``$$`` is a dollar sign."""

    def replace(match: re.Match[str]) -> str:
        return "$" if match[1] is None else values.get(match[1], match[0])

    return _REFERENCE.sub(replace, value)


def expand_known(value: str, values: Mapping[str, str]) -> str:
    """As :func:`expand`, but every name must be known.

    :raises KeyError: with the first name that is not.
    """
    return _REFERENCE.sub(lambda match: "$" if match[1] is None else values[match[1]], value)


def data_of(obj: Object) -> dict[str, bytes]:
    """The keys of a ConfigMap or Secret with their content."""
    content = {key: base64.b64decode(value) for key, value in (obj.get("binaryData") or {}).items()}
    for key, value in (obj.get("data") or {}).items():
        content[key] = base64.b64decode(value) if obj.get("kind") == "Secret" else str(value).encode()
    return content


class PathRewriter:
    """Replaces mount paths by the directories behind them.

    :param mounts: real directory by mount path.
    """

    def __init__(self, mounts: Mapping[str, str]) -> None:
        self._mounts = {path.rstrip("/"): real for path, real in mounts.items() if path.rstrip("/")}
        # The longest first: /data/logs may be a volume of its own inside /data.
        paths = sorted(self._mounts, key=len, reverse=True)
        alternatives = "|".join(re.escape(path) for path in paths)
        self._pattern = re.compile(rf"(?<![-.\w/])({alternatives})(?![-.\w])") if paths else None

    def rewrite(self, value: str) -> str:
        """The value with every mount path replaced, where it stands as a path of its own."""
        if self._pattern is None:
            return value
        return self._pattern.sub(lambda match: self._mounts[match[1]], value)


def command_line(
    container: Mapping[str, Any], entrypoint: Sequence[str], values: Mapping[str, str]
) -> list[str]:
    """Command and args; the image's entry point where the container names no command."""
    command = container.get("command") or list(entrypoint)
    return [expand(word, values) for word in [*command, *(container.get("args") or ())]]


def _all_of(source: Mapping[str, Any], find: Lookup) -> dict[str, str]:
    kind, reference = (
        ("ConfigMap", source["configMapRef"]) if "configMapRef" in source else ("Secret", source["secretRef"])
    )
    obj = find(kind, reference["name"])
    if obj is None:
        if reference.get("optional"):
            return {}
        raise ConfigMissing(f'{kind.lower()} "{reference["name"]}" not found')
    prefix = source.get("prefix") or ""
    return {prefix + key: value.decode(errors="replace") for key, value in data_of(obj).items()}


def _value_from(
    source: Mapping[str, Any], pod: Object, host: str, container: Mapping[str, Any], find: Lookup
) -> str | None:
    if "fieldRef" in source:
        return field(pod, host, source["fieldRef"]["fieldPath"])
    if "resourceFieldRef" in source:
        return resource_field(container, source["resourceFieldRef"])
    kind, reference = (
        ("ConfigMap", source["configMapKeyRef"])
        if "configMapKeyRef" in source
        else ("Secret", source["secretKeyRef"])
    )
    obj = find(kind, reference["name"])
    content = data_of(obj) if obj is not None else {}
    if reference["key"] in content:
        return content[reference["key"]].decode(errors="replace")
    if reference.get("optional"):
        return None
    if obj is None:
        raise ConfigMissing(f'{kind.lower()} "{reference["name"]}" not found')
    raise ConfigMissing(f"couldn't find key {reference['key']} in {kind} {reference['name']}")


def field(pod: Object, host: str, path: str) -> str:
    """A downward API field.

    :raises ConfigMissing: for a field there is none of.
    """
    meta, spec = pod["metadata"], pod["spec"]
    if match := _SUBSCRIPT.match(path):
        return str((meta.get(match[1]) or {}).get(match[2], ""))
    simple = {
        "metadata.name": meta["name"],
        "metadata.namespace": meta["namespace"],
        "metadata.uid": meta["uid"],
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName", "default"),
        "status.podIP": host,
        "status.podIPs": host,
        "status.hostIP": "127.0.0.1",
        "status.hostIPs": "127.0.0.1",
    }
    if path in simple:
        return str(simple[path])
    if path in ("metadata.labels", "metadata.annotations"):
        entries = meta.get(path.partition(".")[2]) or {}
        return "\n".join(f'{key}="{value}"' for key, value in sorted(entries.items()))
    raise ConfigMissing(f"unsupported fieldPath: {path}")


def resource_field(container: Mapping[str, Any], reference: Mapping[str, Any]) -> str:
    """A limit or request in whole divisors, rounded up; 0 where none is set."""
    group, _, resource = str(reference["resource"]).partition(".")
    wanted = ((container.get("resources") or {}).get(group) or {}).get(resource, "0")
    divisor = parse(reference.get("divisor") or "1").value or 1
    return str(math.ceil(parse(wanted).value / divisor))
