"""Kinds that the sandbox does not enforce: what a user would rely on as protection is refused.

An admission webhook or policy that is stored and not enforced lets through what its author forbids, and an
aggregated API that nobody reaches answers 503 to everything. What only tunes a server is stored, with a
warning.
"""

from __future__ import annotations

from collections.abc import Mapping

from informers.apiserver.errors import StatusError
from informers.objects import Object, Resource

_ADMISSION = "admissionregistration.k8s.io"
_FLOW = "flowcontrol.apiserver.k8s.io"
_WEBHOOKS = "this server does not call admission webhooks; {name} would have no effect"
_POLICIES = (
    "this server does not enforce admission policies; {name} would have no effect; "
    "policies without a binding can be stored"
)
_REFUSED: Mapping[tuple[str, str], str] = {
    (_ADMISSION, "mutatingwebhookconfigurations"): _WEBHOOKS,
    (_ADMISSION, "validatingwebhookconfigurations"): _WEBHOOKS,
    (_ADMISSION, "mutatingadmissionpolicybindings"): _POLICIES,
    (_ADMISSION, "validatingadmissionpolicybindings"): _POLICIES,
    ("apiregistration.k8s.io", "apiservices"): "this server does not forward requests to other API servers; "
    "spec.service of {name} would have no effect",
    ("networking.k8s.io", "servicecidrs"): "this server supports only the ServiceCIDR kubernetes; "
    "{name} would have no effect",
}
_FIRST_RANGE = "kubernetes"
_WARNED: Mapping[tuple[str, str], str] = {
    (_FLOW, "flowschemas"): "this server does not support priority and fairness; FlowSchemas have no effect",
    (_FLOW, "prioritylevelconfigurations"): "this server does not support priority and fairness; "
    "PriorityLevelConfigurations have no effect",
    ("", "limitranges"): "this server does not run the LimitRanger; LimitRanges have no effect",
    ("", "resourcequotas"): "this server does not enforce quotas; ResourceQuotas have no effect",
    ("storagemigration.k8s.io", "storageversionmigrations"): "this server does not migrate stored objects; "
    "StorageVersionMigrations have no effect",
}


def refuse_unenforced(resource: Resource, obj: Object) -> None:
    """:raises StatusError: 501 for an object that its author would rely on in vain."""
    why = _REFUSED.get((resource.group, resource.plural))
    if why is None or not _would_matter(resource.plural, obj):
        return
    name = f'{resource} "{obj["metadata"].get("name", "")}"'
    raise StatusError(501, "NotImplemented", why.format(name=name))


def _would_matter(plural: str, obj: Object) -> bool:
    if plural.endswith("webhookconfigurations"):
        return bool(obj.get("webhooks"))
    if plural == "apiservices":
        return bool((obj.get("spec") or {}).get("service"))
    return plural != "servicecidrs" or obj["metadata"].get("name") != _FIRST_RANGE


def warning_of(resource: Resource) -> str | None:
    """What to tell whoever writes an object of a kind that has no effect here."""
    return _WARNED.get((resource.group, resource.plural))
