"""The plugins DefaultStorageClass, PersistentVolumeClaimResize and DefaultIngressClass."""

from __future__ import annotations

from informers.apiserver.admission.plugin import Plugin, annotated, newest, refused
from informers.apiserver.builtin.context import Context
from informers.apiserver.values.quantity import parse
from informers.objects import Object

_CLAIMS = ("", "persistentvolumeclaims")
_CLASSES = ("storage.k8s.io", "storageclasses")
_INGRESSES = ("networking.k8s.io", "ingresses")
_DEFAULT_CLASSES = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)
_OLD_CLASS = "volume.beta.kubernetes.io/storage-class"
_DEFAULT_INGRESS_CLASS = "ingressclass.kubernetes.io/is-default-class"
_OLD_INGRESS_CLASS = "kubernetes.io/ingress.class"


def _default_class(claim: Object, old: Object | None, context: Context) -> None:
    if old is not None or claim["spec"].get("storageClassName") is not None:
        return
    if _annotation(claim, _OLD_CLASS) is not None:
        return
    defaults = [
        one for one in context.all(*_CLASSES) if any(annotated(one, name) for name in _DEFAULT_CLASSES)
    ]
    found = newest(defaults)
    if found is not None:
        claim["spec"]["storageClassName"] = found["metadata"]["name"]


def _annotation(obj: Object, name: str) -> str | None:
    found: str | None = (obj["metadata"].get("annotations") or {}).get(name)
    return found


DEFAULT_STORAGE_CLASS = Plugin("DefaultStorageClass", frozenset({_CLAIMS}), mutate=_default_class)


def _check_growth(claim: Object, old: Object | None, context: Context) -> None:
    if old is None or _size(claim) <= _size(old):
        return
    if (old.get("status") or {}).get("phase") != "Bound":
        raise refused(claim, context, "Only bound persistent volume claims can be expanded")
    name = claim["spec"].get("storageClassName") or _annotation(claim, _OLD_CLASS)
    found = context.find(*_CLASSES, "", name) if name else None
    if found is None or not found.get("allowVolumeExpansion"):
        why = (
            "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc "
            "must support resize"
        )
        raise refused(claim, context, why)


def _size(claim: Object) -> float:
    requests = (claim["spec"].get("resources") or {}).get("requests") or {}
    return float(parse(requests.get("storage", "0")).value)


RESIZE = Plugin("PersistentVolumeClaimResize", frozenset({_CLAIMS}), validate=_check_growth)


def _default_ingress_class(ingress: Object, old: Object | None, context: Context) -> None:
    if old is not None or ingress["spec"].get("ingressClassName") is not None:
        return
    if _annotation(ingress, _OLD_INGRESS_CLASS) is not None:
        return
    classes = context.all("networking.k8s.io", "ingressclasses")
    found = newest([one for one in classes if annotated(one, _DEFAULT_INGRESS_CLASS)])
    if found is not None:
        ingress["spec"]["ingressClassName"] = found["metadata"]["name"]


DEFAULT_INGRESS_CLASS = Plugin("DefaultIngressClass", frozenset({_INGRESSES}), mutate=_default_ingress_class)
