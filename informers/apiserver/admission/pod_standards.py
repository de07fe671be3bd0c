"""The Pod Security Standards: the fields that the levels ``baseline`` and ``restricted`` require or forbid.

The checks and their messages are those of the latest version of the standards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

from informers.objects import Object

LEVELS = ("privileged", "baseline", "restricted")
"""The levels, each stricter than those before it."""


class Finding(NamedTuple):
    """One rule that a pod breaks.

    :param reason: what is wrong, in a few words.
    :param detail: where.
    """

    reason: str
    detail: str

    def __str__(self) -> str:
        return f"{self.reason} ({self.detail})" if self.detail else self.reason


_Check: TypeAlias = Callable[[Object, Object], Finding | None]

_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
_CAPABILITIES = frozenset(
    [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ]
)
_PROFILES = ("RuntimeDefault", "Localhost")
_SELINUX_TYPES = ("", "container_t", "container_init_t", "container_kvm_t", "container_engine_t")
_SYSCTLS = frozenset(
    (
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_notsent_lowat",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_slow_start_after_idle",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.tcp_wmem",
    )
)
_VOLUMES = frozenset(
    [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ]
)
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")


def findings(level: str, metadata: Object, spec: Object) -> list[Finding]:
    """The rules of a level that a pod breaks, those of ``baseline`` first.

    :param metadata: of the pod or its template.
    """
    checks: Iterable[_Check] = ()
    if level == "baseline":
        checks = _BASELINE.values()
    elif level == "restricted":
        kept = (check for name, check in _BASELINE.items() if name not in _REPLACED)
        checks = (*kept, *_RESTRICTED)
    return [found for check in checks if (found := check(metadata, spec)) is not None]


def _containers(spec: Object) -> Iterator[Object]:
    for name in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(name) or ()


def _context(container: Object) -> Mapping[str, Any]:
    return container.get("securityContext") or {}


def _quoted(items: Iterable[Any]) -> str:
    return ", ".join(f'"{one}"' for one in items)


def _counted(word: str, items: Iterable[Any]) -> str:
    names = list(items)
    return f"{word if len(names) == 1 else word + 's'} {_quoted(names)}"


def _setters(pod: bool, containers: list[str]) -> str:
    found = ["pod"] if pod else []
    if containers:
        found.append(_counted("container", containers))
    return " and ".join(found)


def _app_armor(metadata: Object, spec: Object) -> Finding | None:
    def bad(holder: Mapping[str, Any]) -> str | None:
        kind = (holder.get("appArmorProfile") or {}).get("type")
        return kind if kind is not None and kind not in _PROFILES else None

    pod = bad(spec.get("securityContext") or {})
    containers = [(one["name"], bad(_context(one))) for one in _containers(spec)]
    values = sorted({kind for kind in (pod, *(kind for _, kind in containers)) if kind is not None})
    setters = _setters(pod is not None, [name for name, kind in containers if kind is not None])
    annotations = sorted(
        f'{key}="{value}"'
        for key, value in (metadata.get("annotations") or {}).items()
        if key.startswith(_APPARMOR)
        and value
        and value != "runtime/default"
        and not value.startswith("localhost/")
    )
    if annotations:
        word = "annotation" if len(annotations) == 1 else "annotations"
        setters = " and ".join(filter(None, (setters, word)))
        values += [one.replace('"', '\\"') for one in annotations]
    if not setters:
        return None
    reason = "forbidden AppArmor profile" + ("s" if len(values) != 1 else "")
    return Finding(reason, f"{setters} must not set AppArmor profile type to {_quoted(values)}")


def _added_capabilities(metadata: Object, spec: Object) -> Finding | None:
    bad = _adding(spec, _CAPABILITIES)
    if not bad:
        return None
    added = sorted({name for _, names in bad for name in names})
    containers = _counted("container", [name for name, _ in bad])
    detail = f"{containers} must not include {_quoted(added)} in securityContext.capabilities.add"
    return Finding("non-default capabilities", detail)


def _adding(spec: Object, allowed: frozenset[str]) -> list[tuple[str, list[str]]]:
    """Containers that add capabilities beyond those allowed, with these."""
    found = []
    for one in _containers(spec):
        added = (_context(one).get("capabilities") or {}).get("add") or ()
        names = [str(name) for name in added if name not in allowed]
        if names:
            found.append((str(one["name"]), names))
    return found


def _host_namespaces(metadata: Object, spec: Object) -> Finding | None:
    found = [f"{name}=true" for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    return Finding("host namespaces", ", ".join(found)) if found else None


def _host_paths(metadata: Object, spec: Object) -> Finding | None:
    found = [one["name"] for one in spec.get("volumes") or () if one.get("hostPath") is not None]
    return Finding("hostPath volumes", _counted("volume", found)) if found else None


def _host_ports(metadata: Object, spec: Object) -> Finding | None:
    bad, ports = [], set()
    for one in _containers(spec):
        used = {str(port["hostPort"]) for port in one.get("ports") or () if port.get("hostPort")}
        ports |= used
        if used:
            bad.append(one["name"])
    if not bad:
        return None
    uses, words = "uses" if len(bad) == 1 else "use", "hostPort" if len(ports) == 1 else "hostPorts"
    return Finding("hostPort", f"{_counted('container', bad)} {uses} {words} {', '.join(sorted(ports))}")


def _probed_hosts(metadata: Object, spec: Object) -> Finding | None:
    bad, hosts = set(), set()
    for one in _containers(spec):
        handlers = [one.get(name) for name in _PROBES]
        handlers += [(one.get("lifecycle") or {}).get(name) for name in ("postStart", "preStop")]
        for handler in handlers:
            for kind in ("httpGet", "tcpSocket"):
                host = ((handler or {}).get(kind) or {}).get("host")
                if host:
                    bad.add(str(one["name"]))
                    hosts.add(str(host))
    if not bad:
        return None
    uses = "uses" if len(bad) == 1 else "use"
    detail = (
        f"{_counted('container', sorted(bad))} {uses} {_counted('probe or lifecycle host', sorted(hosts))}"
    )
    return Finding("probe or lifecycle host", detail)


def _privileged(metadata: Object, spec: Object) -> Finding | None:
    bad = [one["name"] for one in _containers(spec) if _context(one).get("privileged")]
    detail = f"{_counted('container', bad)} must not set securityContext.privileged=true"
    return Finding("privileged", detail) if bad else None


def _proc_mount(metadata: Object, spec: Object) -> Finding | None:
    bad = [
        (one["name"], str(_context(one)["procMount"]))
        for one in _containers(spec)
        if _context(one).get("procMount") not in (None, "Default")
    ]
    if not bad:
        return None
    kinds = _quoted(sorted({kind for _, kind in bad}))
    containers = _counted("container", [name for name, _ in bad])
    return Finding("procMount", f"{containers} must not set securityContext.procMount to {kinds}")


def _proc_mount_outside_user_namespaces(metadata: Object, spec: Object) -> Finding | None:
    return None if _in_user_namespace(spec) else _proc_mount(metadata, spec)


def _in_user_namespace(spec: Object) -> bool:
    return spec.get("hostUsers") is False


def _se_linux(metadata: Object, spec: Object) -> Finding | None:
    def bad(holder: Mapping[str, Any]) -> bool:
        options = holder.get("seLinuxOptions") or {}
        kind = options.get("type") or ""
        if kind not in _SELINUX_TYPES:
            types.add(kind)
        named.update(word for word in ("user", "role") if options.get(word))
        return kind not in _SELINUX_TYPES or bool(options.get("user") or options.get("role"))

    types: set[str] = set()
    named: set[str] = set()
    pod = bad(spec.get("securityContext") or {})
    setters = _setters(pod, [one["name"] for one in _containers(spec) if bad(_context(one))])
    if not setters:
        return None
    found = [_counted("type", sorted(types))] if types else []
    found += [f"{word} may not be set" for word in ("user", "role") if word in named]
    detail = f"{setters} set forbidden securityContext.seLinuxOptions: {'; '.join(found)}"
    return Finding("seLinuxOptions", detail)


def _seccomp(metadata: Object, spec: Object) -> Finding | None:
    def kind(holder: Mapping[str, Any]) -> str | None:
        profile = holder.get("seccompProfile")
        return str(profile.get("type")) if profile is not None else None

    pod = kind(spec.get("securityContext") or {})
    containers = [(str(one["name"]), kind(_context(one))) for one in _containers(spec)]
    bad = [(name, found) for name, found in containers if found is not None and found not in _PROFILES]
    bad_pod = pod is not None and pod not in _PROFILES
    setters = _setters(bad_pod, [name for name, _ in bad])
    if not setters:
        return None
    values = {found for _, found in bad if found is not None} | (
        {pod} if bad_pod and pod is not None else set()
    )
    detail = f"{setters} must not set securityContext.seccompProfile.type to {_quoted(sorted(values))}"
    return Finding("seccompProfile", detail)


def _seccomp_set(metadata: Object, spec: Object) -> Finding | None:
    if _is_windows(spec):
        return None
    found = _seccomp(metadata, spec)
    if found is not None or (spec.get("securityContext") or {}).get("seccompProfile") is not None:
        return found
    bad = [one["name"] for one in _containers(spec) if _context(one).get("seccompProfile") is None]
    detail = (
        f"pod or {_counted('container', bad)} must set securityContext.seccompProfile.type to "
        f'"RuntimeDefault" or "Localhost"'
    )
    return Finding("seccompProfile", detail) if bad else None


def _sysctls(metadata: Object, spec: Object) -> Finding | None:
    named = (spec.get("securityContext") or {}).get("sysctls") or ()
    bad = [str(one.get("name")) for one in named if one.get("name") not in _SYSCTLS]
    return Finding("forbidden sysctls", ", ".join(bad)) if bad else None


def _host_process(metadata: Object, spec: Object) -> Finding | None:
    def bad(holder: Mapping[str, Any]) -> bool:
        return bool((holder.get("windowsOptions") or {}).get("hostProcess"))

    pod = bad(spec.get("securityContext") or {})
    setters = _setters(pod, [one["name"] for one in _containers(spec) if bad(_context(one))])
    detail = f"{setters} must not set securityContext.windowsOptions.hostProcess=true"
    return Finding("hostProcess", detail) if setters else None


def _is_windows(spec: Object) -> bool:
    return bool((spec.get("os") or {}).get("name") == "windows")


def _escalation(metadata: Object, spec: Object) -> Finding | None:
    bad = [
        one["name"] for one in _containers(spec) if _context(one).get("allowPrivilegeEscalation") is not False
    ]
    if not bad or _is_windows(spec):
        return None
    detail = f"{_counted('container', bad)} must set securityContext.allowPrivilegeEscalation=false"
    return Finding("allowPrivilegeEscalation != false", detail)


def _dropped_capabilities(metadata: Object, spec: Object) -> Finding | None:
    if _is_windows(spec):
        return None
    details = []
    keeping = [
        one["name"]
        for one in _containers(spec)
        if "ALL" not in ((_context(one).get("capabilities") or {}).get("drop") or ())
    ]
    if keeping:
        containers = _counted("container", keeping)
        details.append(f'{containers} must set securityContext.capabilities.drop=["ALL"]')
    adding = _adding(spec, frozenset({"NET_BIND_SERVICE"}))
    if adding:
        added = sorted({name for _, names in adding for name in names})
        containers = _counted("container", [name for name, _ in adding])
        details.append(f"{containers} must not include {_quoted(added)} in securityContext.capabilities.add")
    return Finding("unrestricted capabilities", "; ".join(details)) if details else None


def _other_volumes(metadata: Object, spec: Object) -> Finding | None:
    bad = [
        (str(one["name"]), next((kind for kind in one if kind != "name"), "unknown"))
        for one in spec.get("volumes") or ()
        if not _VOLUMES & one.keys()
    ]
    if not bad:
        return None
    uses = "uses" if len(bad) == 1 else "use"
    kinds = _counted("restricted volume type", sorted({kind for _, kind in bad}))
    detail = f"{_counted('volume', [name for name, _ in bad])} {uses} {kinds}"
    return Finding("restricted volume types", detail)


def _non_root(metadata: Object, spec: Object) -> Finding | None:
    if _in_user_namespace(spec):
        return None
    pod = (spec.get("securityContext") or {}).get("runAsNonRoot")
    said = [(str(one["name"]), _context(one).get("runAsNonRoot")) for one in _containers(spec)]
    setters = _setters(pod is False, [name for name, value in said if value is False])
    if setters:
        detail = f"{setters} must not set securityContext.runAsNonRoot=false"
        return Finding("runAsNonRoot != true", detail)
    silent = [name for name, value in said if value is None]
    if pod or not silent:
        return None
    detail = f"pod or {_counted('container', silent)} must set securityContext.runAsNonRoot=true"
    return Finding("runAsNonRoot != true", detail)


def _user(metadata: Object, spec: Object) -> Finding | None:
    if _in_user_namespace(spec):
        return None
    pod = (spec.get("securityContext") or {}).get("runAsUser") == 0
    setters = _setters(pod, [one["name"] for one in _containers(spec) if _context(one).get("runAsUser") == 0])
    return Finding("runAsUser=0", f"{setters} must not set runAsUser=0") if setters else None


_BASELINE: Mapping[str, _Check] = {
    "appArmorProfile": _app_armor,
    "capabilities_baseline": _added_capabilities,
    "hostNamespaces": _host_namespaces,
    "hostPathVolumes": _host_paths,
    "hostPorts": _host_ports,
    "hostProbesAndHostLifecycle": _probed_hosts,
    "privileged": _privileged,
    "procMount": _proc_mount_outside_user_namespaces,
    "seLinuxOptions": _se_linux,
    "seccompProfile_baseline": _seccomp,
    "sysctls": _sysctls,
    "windowsHostProcess": _host_process,
}
_RESTRICTED: tuple[_Check, ...] = (
    _escalation,
    _dropped_capabilities,
    _proc_mount,
    _other_volumes,
    _non_root,
    _user,
    _seccomp_set,
)
# The restricted level has stricter checks of its own in their place.
_REPLACED = frozenset({"capabilities_baseline", "hostPathVolumes", "procMount", "seccompProfile_baseline"})
