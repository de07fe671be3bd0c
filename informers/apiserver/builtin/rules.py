"""What happens to an object of a built-in kind between decoding and storing it. Arguments are not changed."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping

from informers.apiserver.builtin import (
    certificates,
    content_rules,
    defaults,
    passive_defaults,
    passive_rules,
    pod_defaults,
    pod_rules,
    services,
    workload_rules,
)
from informers.apiserver.builtin.context import Context
from informers.apiserver.builtin.gotypes import shaped, with_nulls
from informers.apiserver.errors import Cause
from informers.apiserver.errors.causes import each_invalid, invalid
from informers.apiserver.kinds.table import shape_of
from informers.apiserver.values.names import dns_label, dns_subdomain, path_segment
from informers.objects import Object, Resource

CLAIM_PROTECTION = "kubernetes.io/pvc-protection"
"""The finalizer of claims: they stay as long as a pod uses them."""

_NAMESPACE_FINALIZER = "kubernetes"
_RBAC_KINDS = ("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding")
_ANY_NAME = ("APIService", "CertificateSigningRequest", "ClusterTrustBundle", "IPAddress")
_LABEL_NAMES = ("Namespace", "Service", "StatefulSet")

_Check = Callable[[Object, Object | None], Iterator[Cause]]
_RULES: Mapping[tuple[str, str], _Check] = {
    **content_rules.RULES,
    **passive_rules.RULES,
    ("", "Pod"): pod_rules.validate_pod,
    ("apps", "StatefulSet"): workload_rules.stateful_set,
    ("apps", "Deployment"): workload_rules.deployment,
    ("apps", "ReplicaSet"): workload_rules.replica_set,
    ("apps", "DaemonSet"): workload_rules.replica_set,
    ("batch", "Job"): workload_rules.job,
    ("batch", "CronJob"): workload_rules.cron_job,
}


def prepare_create(obj: Object, context: Context) -> Object:
    """The object as it is to be stored: shaped, defaulted, with what is allocated or born with it.

    :raises StatusError: 400 for a value its Go type could not take.
    """
    resource = context.type.resource
    draft = _draft(obj, resource)
    kind = (resource.group, resource.kind)
    if kind == ("", "Pod"):
        draft["status"].setdefault("phase", "Pending")
        draft["status"].setdefault("qosClass", pod_defaults.quality_of_service(draft["spec"]))
    elif kind == ("", "Namespace"):
        finalizers = draft["spec"].setdefault("finalizers", [])
        if _NAMESPACE_FINALIZER not in finalizers:
            finalizers.append(_NAMESPACE_FINALIZER)
    elif kind == ("", "Service"):
        services.allocate(draft, None, context)
    elif kind == ("batch", "Job"):
        _select_own_pods(draft)
    elif kind == certificates.REQUEST:
        certificates.asked_by(draft, context.user)
    elif kind == ("storage.k8s.io", "CSIDriver"):
        # Counted from its first change on.
        draft["metadata"].pop("generation", None)
    return draft


def prepare_update(new: Object, old: Object, context: Context) -> Object:
    """The new object as it is to be stored, with what was allocated before.

    :raises StatusError: 400 for a value its Go type could not take.
    """
    resource = context.type.resource
    draft = _draft(new, resource)
    if (resource.group, resource.kind) == certificates.REQUEST:
        if context.subresource:
            return certificates.decided(draft, old, context.subresource, context.now)
        return {**draft, "spec": old["spec"]}
    if context.subresource:
        return draft
    if (resource.group, resource.kind) == ("", "Service"):
        services.allocate(draft, old, context)
    return draft


def finish(new: Object, old: Object | None, context: Context) -> Object:
    """The prepared object with what is changed after ownership has been noted."""
    kind = (context.type.resource.group, context.type.resource.kind)
    if kind == ("", "PersistentVolumeClaim") and old is None:
        finalizers = new["metadata"].get("finalizers") or []
        if CLAIM_PROTECTION not in finalizers:
            metadata = {**new["metadata"], "finalizers": [*finalizers, CLAIM_PROTECTION]}
            return {**new, "metadata": metadata}
    if kind == ("", "Service") and old is not None and not context.subresource:
        return services.meaningful(new, old)
    return passive_defaults.with_nulls(with_nulls(new, *kind))


def validate(new: Object, old: Object | None, context: Context) -> list[Cause]:
    """What is wrong with a prepared object, as causes of a 422.

    :param old: the object it replaces.
    """
    resource = context.type.resource
    causes = [] if old is not None else list(_name(new, resource))
    if (resource.group, resource.kind) == certificates.REQUEST:
        return [*causes, *certificates.validate(new, old, context.subresource)]
    if context.subresource == "status":
        return causes
    if (resource.group, resource.kind) == ("", "Service"):
        causes.extend(services.validate(new, old, context))
    elif rule := _RULES.get((resource.group, resource.kind)):
        causes.extend(rule(new, old))
    return causes


def _draft(obj: Object, resource: Resource) -> Object:
    if (resource.group, resource.kind) == ("", "Secret"):
        obj = _with_string_data(obj)
    draft = shaped(obj, shape_of(resource), resource.kind)
    if (resource.group, resource.kind) == ("", "Service"):
        for port in (draft.get("spec") or {}).get("ports") or ():
            port.setdefault("port", 0)
    defaults.fill(draft, shape_of(resource), resource.kind)
    return draft


def _name(obj: Object, resource: Resource) -> Iterator[Cause]:
    name = obj["metadata"].get("name") or ""
    if not name:
        return
    if resource.kind in _RBAC_KINDS or resource.kind in _ANY_NAME:
        problems = path_segment(name)
    elif resource.kind in _LABEL_NAMES:
        problems = dns_label(name)
    else:
        problems = dns_subdomain(name)
    if resource.kind == "Service":
        problems = [problem.replace("bytes", "characters") for problem in problems]
    yield from each_invalid("metadata.name", name, problems)
    if resource.kind == "CronJob" and len(name) > 52:
        yield invalid("metadata.name", name, "must be no more than 52 characters")


def _with_string_data(secret: Object) -> Object:
    """A secret with its ``stringData`` moved into ``data``, which it wins over."""
    texts, data = secret.get("stringData") or {}, secret.get("data") or {}
    if not isinstance(texts, dict) or not isinstance(data, dict):
        # What is no map is refused in a moment.
        return secret
    texts = {key: "" if text is None else text for key, text in texts.items()}
    if not all(isinstance(text, str) for text in texts.values()):
        return secret
    result = {key: value for key, value in secret.items() if key != "stringData"}
    if texts:
        encoded = {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}
        result["data"] = {**data, **encoded}
    return result


def _select_own_pods(job: Object) -> None:
    """A job selects its pods by its own uid, unless its author insists on another selector."""
    spec = job["spec"]
    if spec.get("manualSelector"):
        return
    metadata = job["metadata"]
    uid = metadata.get("uid", "")
    own = {
        "controller-uid": uid,
        "batch.kubernetes.io/controller-uid": uid,
        "job-name": metadata["name"],
        "batch.kubernetes.io/job-name": metadata["name"],
    }
    labels = spec["template"]["metadata"].setdefault("labels", {})
    for key, value in own.items():
        labels.setdefault(key, value)
    spec["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
