"""Validation of pod specs, in pods and in pod templates, and of changes to pods."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from informers.apiserver.builtin.volume_rules import validate_sub_path, validate_volume
from informers.apiserver.errors import Cause
from informers.apiserver.errors.causes import (
    duplicate,
    each_invalid,
    forbidden,
    invalid,
    not_negative,
    required,
    unsupported,
)
from informers.apiserver.values.names import (
    check_labels,
    dns_label,
    dns_subdomain,
    label_key,
    port_name,
    port_number,
)
from informers.apiserver.values.quantity import parse
from informers.objects import Object

_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_RESTART_POLICIES = ("Always", "OnFailure", "Never")
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_STANDARD = ("cpu", "memory", "ephemeral-storage")
_UPDATE_WORDS = (
    "pod updates may not change fields other than `spec.containers[*].image`,"
    "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` "
    "(only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be "
    "set to 1 if it was previously negative)"
)
_ENV_WORDS = (
    "a valid environment variable name must consist only of printable ASCII characters other than '='"
)


def validate_spec(spec: Object, field: str, claims: frozenset[str] = frozenset()) -> Iterator[Cause]:
    """A pod spec.

    :param claims: names of volumes that come from claim templates.
    """
    volumes = set(claims)
    for position, volume in enumerate(spec.get("volumes") or ()):
        yield from validate_volume(volume, f"{field}.volumes[{position}]", volumes)
    if spec.get("containers") == []:
        yield required(f"{field}.containers")
    names: set[str] = set()
    for kind in ("initContainers", "containers"):
        for position, container in enumerate(spec.get(kind) or ()):
            inner = f"{field}.{kind}[{position}]"
            yield from _container(container, inner, volumes)
            name = container.get("name")
            if name in names:
                yield duplicate(f"{inner}.name", name)
            names.add(name)
    if spec.get("restartPolicy") not in _RESTART_POLICIES:
        yield unsupported(f"{field}.restartPolicy", spec.get("restartPolicy"), _RESTART_POLICIES)
    yield from not_negative(
        f"{field}.terminationGracePeriodSeconds", spec.get("terminationGracePeriodSeconds")
    )
    if spec.get("serviceAccountName"):
        account = spec["serviceAccountName"]
        yield from each_invalid(f"{field}.serviceAccountName", account, dns_subdomain(account))
    for name in ("hostname", "subdomain"):
        if spec.get(name):
            yield from each_invalid(f"{field}.{name}", spec[name], dns_label(spec[name]))
    yield from check_labels(spec.get("nodeSelector") or {}, f"{field}.nodeSelector")


def _container(container: Object, field: str, volumes: set[str]) -> Iterator[Cause]:
    name = container.get("name")
    if name == "":
        yield required(f"{field}.name")
    elif isinstance(name, str):
        yield from each_invalid(f"{field}.name", name, dns_label(name))
    image = str(container.get("image") or "")
    if not image:
        yield required(f"{field}.image")
    elif image != image.strip():
        yield invalid(f"{field}.image", image, "must not have leading or trailing whitespace")
    yield from _ports(container.get("ports") or (), f"{field}.ports")
    for position, variable in enumerate(container.get("env") or ()):
        yield from _variable(variable, f"{field}.env[{position}]")
    yield from _mounts(container.get("volumeMounts") or (), f"{field}.volumeMounts", volumes)
    if container.get("imagePullPolicy") not in _PULL_POLICIES:
        yield unsupported(f"{field}.imagePullPolicy", container.get("imagePullPolicy"), _PULL_POLICIES)
    for kind in _PROBES:
        if isinstance(container.get(kind), dict):
            yield from _probe(container[kind], f"{field}.{kind}", kind)
    yield from _resources(container.get("resources") or {}, f"{field}.resources")


def _ports(ports: Any, field: str) -> Iterator[Cause]:
    names: set[str] = set()
    for position, port in enumerate(ports):
        inner = f"{field}[{position}]"
        name = port.get("name")
        if name:
            problems = port_name(name)
            yield from each_invalid(f"{inner}.name", name, problems)
            if not problems:
                if name in names:
                    yield duplicate(f"{inner}.name", name)
                names.add(name)
        number = port.get("containerPort")
        if number == 0:
            yield required(f"{inner}.containerPort")
        elif isinstance(number, int):
            yield from each_invalid(f"{inner}.containerPort", number, port_number(number))
        if port.get("hostPort"):
            yield from each_invalid(f"{inner}.hostPort", port["hostPort"], port_number(port["hostPort"]))
        if port.get("protocol") not in _PROTOCOLS:
            yield unsupported(f"{inner}.protocol", port.get("protocol"), _PROTOCOLS)


def _variable(variable: Object, field: str) -> Iterator[Cause]:
    name = variable.get("name")
    if name == "":
        yield required(f"{field}.name")
    elif isinstance(name, str) and not all(" " <= one <= "~" and one != "=" for one in name):
        yield invalid(f"{field}.name", name, _ENV_WORDS)
    source = variable.get("valueFrom")
    if isinstance(source, dict):
        if variable.get("value"):
            yield invalid(f"{field}.valueFrom", "", "may not be specified when `value` is not empty")
        if len(source) != 1:
            detail = (
                "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"
            )
            several = "may not have more than one field specified at a time"
            yield invalid(f"{field}.valueFrom", "", several if source else detail)


def _mounts(mounts: Any, field: str, volumes: set[str]) -> Iterator[Cause]:
    paths: set[str] = set()
    for position, mount in enumerate(mounts):
        name, path = mount.get("name"), mount.get("mountPath")
        if name == "":
            yield required(f"{field}[{position}].name")
        if name is not None and name not in volumes:
            yield Cause("FieldValueNotFound", f'Not found: "{name}"', f"{field}[{position}].name")
        if path == "":
            yield required(f"{field}[{position}].mountPath")
        elif path in paths:
            yield invalid(f"{field}[{position}].mountPath", path, "must be unique")
        paths.add(path)
        # Servers do not say which of the mounts it is.
        yield from validate_sub_path(mount, field)


def _probe(probe: Object, field: str, kind: str) -> Iterator[Cause]:
    handlers = [name for name in _HANDLERS if name in probe]
    if not handlers:
        yield required(field, "must specify a handler type")
    for name in handlers[1:]:
        yield forbidden(f"{field}.{name}", "may not specify more than 1 handler type")
    for name in (
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ):
        yield from not_negative(f"{field}.{name}", probe.get(name, 0))
    for name in ("httpGet", "tcpSocket", "grpc"):
        target = probe.get(name)
        port = target.get("port") if isinstance(target, dict) else None
        if isinstance(port, str):
            yield from each_invalid(f"{field}.{name}.port", port, port_name(port))
        elif isinstance(port, int):
            yield from each_invalid(f"{field}.{name}.port", port, port_number(port))
    if kind != "readinessProbe" and probe.get("successThreshold", 1) != 1:
        yield invalid(f"{field}.successThreshold", probe["successThreshold"], "must be 1")


def _resources(resources: Object, field: str) -> Iterator[Cause]:
    limits = resources.get("limits") or {}
    for kind in ("limits", "requests"):
        for name, amount in sorted((resources.get(kind) or {}).items()):
            inner = f"{field}.{kind}"
            value = parse(amount).value
            if kind == "requests" and name in limits and value > parse(limits[name]).value:
                yield invalid(inner, amount, f"must be less than or equal to {name} limit of {limits[name]}")
            if "/" not in name and name not in _STANDARD and not name.startswith("hugepages-"):
                yield invalid(f"{inner}[{name}]", name, "must be a standard resource type or fully qualified")
                yield invalid(f"{inner}[{name}]", name, "must be a standard resource for containers")
            elif "/" in name:
                yield from each_invalid(f"{inner}[{name}]", name, label_key(name))
            if value < 0:
                detail = "must be greater than or equal to 0"
                yield invalid(f"{inner}[{name}]", amount, detail)


def validate_pod(new: Object, old: Object | None) -> Iterator[Cause]:
    """A pod, and what of it may change: images, deadlines, tolerations that are added."""
    yield from validate_spec(new["spec"], "spec")
    if old is None:
        return
    before, after = _comparable(new["spec"], old["spec"])
    if before != after:
        yield forbidden("spec", _UPDATE_WORDS)
    tolerations = new["spec"].get("tolerations") or []
    if any(one not in tolerations for one in old["spec"].get("tolerations") or []):
        yield forbidden(
            "spec.tolerations", "existing toleration can not be modified except its tolerationSeconds"
        )


def _comparable(new: Object, old: Object) -> tuple[Object, Object]:
    """Both specs without what may differ."""
    open_fields = ("activeDeadlineSeconds", "tolerations", "schedulingGates")

    def bare(spec: Object) -> Object:
        result = {key: value for key, value in spec.items() if key not in open_fields}
        for kind in ("containers", "initContainers"):
            if kind in spec:
                result[kind] = [{**container, "image": ""} for container in spec[kind]]
        return result

    return bare(old), bare(new)
