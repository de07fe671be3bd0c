"""The plugins for pods: ServiceAccount, Priority, DefaultTolerationSeconds, RuntimeClass."""

from __future__ import annotations

from typing import Any

from informers.apiserver.admission.plugin import PODS, Plugin, refused
from informers.apiserver.builtin.context import Context
from informers.apiserver.builtin.passive_rules import SYSTEM_PRIORITIES
from informers.apiserver.values.names import generated_name
from informers.objects import Object

_PRIORITY_CLASSES = ("scheduling.k8s.io", "priorityclasses")
_PREEMPTS = "PreemptLowerPriority"
# What a pod waits on a node that stopped answering, unless it says otherwise.
_EVICTED_AFTER = 300
_NODE_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_MIRROR = "kubernetes.io/config.mirror"
_ENFORCE_SECRETS = "kubernetes.io/enforce-mountable-secrets"
_TOKEN_VOLUME = "kube-api-access-"  # noqa: S105 (a name)
_TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 (a path)
# An hour and a little: clients that never read the file again are seen for a year.
_TOKEN_SECONDS = 3607


def _resolve_priority(pod: Object, old: Object | None, context: Context) -> None:
    spec = pod["spec"]
    if old is not None:
        for name in ("priority", "preemptionPolicy"):
            if name not in spec and name in old["spec"]:
                spec[name] = old["spec"][name]
        return
    name, value, policy = _priority(pod, context)
    if name:
        spec["priorityClassName"] = name
    if spec.get("priority", value) != value:
        why = (
            f"the integer value of priority ({spec['priority']}) must not be provided in pod spec; priority "
            f"admission controller computed {value} from the given PriorityClass name"
        )
        raise refused(pod, context, why)
    spec["priority"] = value
    if spec.get("preemptionPolicy", policy) != policy:
        why = (
            f"the string value of PreemptionPolicy ({spec['preemptionPolicy']}) must not be provided in pod "
            f"spec; priority admission controller computed {policy} from the given PriorityClass name"
        )
        raise refused(pod, context, why)
    spec["preemptionPolicy"] = policy


def _priority(pod: Object, context: Context) -> tuple[str, int, str]:
    """Name, value and policy of a pod's class, which may be the default one, or none."""
    name = str(pod["spec"].get("priorityClassName") or "")
    found = context.find(*_PRIORITY_CLASSES, "", name) if name else _default_priority(context)
    if found is None and name in SYSTEM_PRIORITIES:
        # Every cluster has them, also one nobody has put anything into.
        return name, SYSTEM_PRIORITIES[name], _PREEMPTS
    if found is None:
        if name:
            raise refused(pod, context, f"no PriorityClass with name {name} was found")
        return "", 0, _PREEMPTS
    return found["metadata"]["name"], int(found["value"]), str(found.get("preemptionPolicy") or _PREEMPTS)


def _default_priority(context: Context) -> Object | None:
    defaults = [one for one in context.all(*_PRIORITY_CLASSES) if one.get("globalDefault")]
    return min(defaults, key=lambda one: int(one["value"]), default=None)


def _one_default(priority_class: Object, old: Object | None, context: Context) -> None:
    default = _default_priority(context) if priority_class.get("globalDefault") else None
    if default is not None and (old is None or default["metadata"]["name"] != old["metadata"]["name"]):
        name = default["metadata"]["name"]
        why = f"PriorityClass {name} is already marked as default. Only one default can exist"
        raise refused(priority_class, context, why)


def _check_priority(obj: Object, old: Object | None, context: Context) -> None:
    if (context.type.resource.group, context.type.resource.plural) == _PRIORITY_CLASSES:
        _one_default(obj, old, context)


def _priority_of(obj: Object, old: Object | None, context: Context) -> None:
    if context.type.resource.plural == "pods":
        _resolve_priority(obj, old, context)


PRIORITY = Plugin(
    "Priority", frozenset({PODS, _PRIORITY_CLASSES}), mutate=_priority_of, validate=_check_priority
)


def _tolerate(pod: Object, old: Object | None, context: Context) -> None:
    tolerations = pod["spec"].setdefault("tolerations", [])
    for taint in _NODE_TAINTS:
        tolerated = any(
            one.get("key") in (taint, None, "") and one.get("effect") in ("NoExecute", None, "")
            for one in tolerations
        )
        if not tolerated:
            toleration = {"key": taint, "operator": "Exists", "effect": "NoExecute"}
            tolerations.append({**toleration, "tolerationSeconds": _EVICTED_AFTER})


TOLERATIONS = Plugin("DefaultTolerationSeconds", frozenset({PODS}), mutate=_tolerate)


def _use_account(pod: Object, old: Object | None, context: Context) -> None:
    if old is not None or _is_mirror(pod):
        return
    spec = pod["spec"]
    if not spec.get("serviceAccountName"):
        spec["serviceAccountName"] = spec["serviceAccount"] = "default"
    account = _account(pod, context)
    wanted = spec.get("automountServiceAccountToken", account.get("automountServiceAccountToken", True))
    if wanted:
        _mount_token(spec, context)
    secrets = account.get("imagePullSecrets")
    if secrets and not spec.get("imagePullSecrets"):
        spec["imagePullSecrets"] = [dict(one) for one in secrets]


def _account(pod: Object, context: Context) -> Object:
    namespace, name = pod["metadata"]["namespace"], str(pod["spec"].get("serviceAccountName") or "")
    found = context.find("", "serviceaccounts", namespace, name)
    if found is None:
        why = f'error looking up service account {namespace}/{name}: serviceaccount "{name}" not found'
        raise refused(pod, context, why)
    return found


def _is_mirror(pod: Object) -> bool:
    return _MIRROR in (pod["metadata"].get("annotations") or {})


def _mount_token(spec: Object, context: Context) -> None:
    volumes = spec.get("volumes") or []
    there = [one["name"] for one in volumes if str(one.get("name")).startswith(_TOKEN_VOLUME)]
    name = there[0] if there else generated_name(_TOKEN_VOLUME, context.rng)
    mounted = False
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        mounts = container.setdefault("volumeMounts", [])
        if all(mount.get("mountPath") != _TOKEN_PATH for mount in mounts):
            mounts.append({"name": name, "readOnly": True, "mountPath": _TOKEN_PATH})
            mounted = True
    if mounted and not there:
        spec["volumes"] = [*volumes, {"name": name, "projected": _token_sources()}]


def _token_sources() -> Object:
    field = {"apiVersion": "v1", "fieldPath": "metadata.namespace"}
    authority = {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}
    return {
        "defaultMode": 0o644,
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": _TOKEN_SECONDS, "path": "token"}},
            {"configMap": authority},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": field}]}},
        ],
    }


def _check_account(pod: Object, old: Object | None, context: Context) -> None:
    if old is not None:
        return
    if _is_mirror(pod):
        if pod["spec"].get("serviceAccountName"):
            raise refused(pod, context, "a mirror pod may not reference service accounts")
        return
    account = _account(pod, context)
    enforced = (account["metadata"].get("annotations") or {}).get(_ENFORCE_SECRETS)
    if str(enforced).lower() in ("true", "1", "t"):
        _check_secrets(pod, account, context)


def _check_secrets(pod: Object, account: Object, context: Context) -> None:
    mountable = {one.get("name") for one in account.get("secrets") or ()}
    name = account["metadata"]["name"]
    for volume in pod["spec"].get("volumes") or ():
        secret = (volume.get("secret") or {}).get("secretName")
        if secret is not None and secret not in mountable:
            where = f'volume with secret.secretName="{secret}"'
            raise refused(pod, context, _unreferenced(where, name))
    for kind, prefix in (("initContainers", "init container"), ("containers", "container")):
        for container in pod["spec"].get(kind) or ():
            for what, secret in _secrets_of(container):
                if secret not in mountable:
                    where = (
                        f'{prefix} {container["name"]} with {what} referencing secret.secretName="{secret}"'
                    )
                    raise refused(pod, context, _unreferenced(where, name))


def _unreferenced(where: str, account: str) -> str:
    return f"{where} is not allowed because service account {account} does not reference that secret"


def _secrets_of(container: Object) -> list[tuple[str, Any]]:
    variables = [
        (f"envVar {one['name']}", one["valueFrom"]["secretKeyRef"].get("name"))
        for one in container.get("env") or ()
        if (one.get("valueFrom") or {}).get("secretKeyRef")
    ]
    whole = [
        ("envFrom", one["secretRef"].get("name"))
        for one in container.get("envFrom") or ()
        if one.get("secretRef")
    ]
    return variables + whole


SERVICE_ACCOUNT = Plugin("ServiceAccount", frozenset({PODS}), mutate=_use_account, validate=_check_account)


def _use_runtime(pod: Object, old: Object | None, context: Context) -> None:
    found = _runtime(pod, context) if old is None else None
    if found is None:
        return
    spec = pod["spec"]
    overhead = (found.get("overhead") or {}).get("podFixed")
    if overhead:
        if spec.get("overhead", overhead) != overhead:
            why = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"
            raise refused(pod, context, why)
        spec["overhead"] = dict(overhead)
    scheduling = found.get("scheduling") or {}
    for key, value in (scheduling.get("nodeSelector") or {}).items():
        given = (spec.get("nodeSelector") or {}).get(key, value)
        if given != value:
            why = (
                f"conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; "
                f"pod.spec.nodeSelector[{key}] = {given}"
            )
            raise refused(pod, context, why)
        spec["nodeSelector"] = {**(spec.get("nodeSelector") or {}), key: value}
    for toleration in scheduling.get("tolerations") or ():
        if toleration not in spec.setdefault("tolerations", []):
            spec["tolerations"].append(dict(toleration))


def _runtime(pod: Object, context: Context) -> Object | None:
    name = pod["spec"].get("runtimeClassName")
    if name is None:
        return None
    found = context.find("node.k8s.io", "runtimeclasses", "", name)
    if found is None:
        raise refused(pod, context, f'pod rejected: RuntimeClass "{name}" not found')
    return found


def _check_overhead(pod: Object, old: Object | None, context: Context) -> None:
    found = _runtime(pod, context) if old is None else None
    if old is None and pod["spec"].get("overhead") and not (found or {}).get("overhead"):
        why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
        raise refused(pod, context, why)


RUNTIME_CLASS = Plugin("RuntimeClass", frozenset({PODS}), mutate=_use_runtime, validate=_check_overhead)
