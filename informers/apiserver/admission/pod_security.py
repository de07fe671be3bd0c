"""The PodSecurity plugin: a namespace's labels say which Pod Security Standard its pods are held to."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from informers.apiserver.admission.plugin import PODS, Plugin, refused
from informers.apiserver.admission.pod_standards import LEVELS, findings
from informers.apiserver.builtin.context import Context
from informers.apiserver.errors import Cause
from informers.apiserver.errors.causes import invalid
from informers.apiserver.errors.refusals import invalid as refusal
from informers.objects import Object

_PREFIX = "pod-security.kubernetes.io/"
_VERSION = re.compile(r"v1\.(?:[0-9]|[1-9][0-9]*)", re.ASCII)
_NAMESPACES = ("", "namespaces")
_MOST_PODS = 3000
"""Pods of a namespace that are looked at when its level changes."""

_Template = Callable[[Object], Object | None]


def _spec_template(obj: Object) -> Object | None:
    return (obj.get("spec") or {}).get("template")


_TEMPLATES: Mapping[tuple[str, str], _Template] = {
    ("", "podtemplates"): lambda obj: obj.get("template"),
    ("", "replicationcontrollers"): _spec_template,
    ("apps", "daemonsets"): _spec_template,
    ("apps", "deployments"): _spec_template,
    ("apps", "replicasets"): _spec_template,
    ("apps", "statefulsets"): _spec_template,
    ("batch", "jobs"): _spec_template,
    ("batch", "cronjobs"): lambda obj: obj["spec"]["jobTemplate"]["spec"].get("template"),
}


class Standard(NamedTuple):
    """A level, and the version of it."""

    level: str = "privileged"
    version: str = "latest"

    def __str__(self) -> str:
        return f"{self.level}:{self.version}"


class Policy(NamedTuple):
    """What the labels of a namespace ask for."""

    enforce: Standard = Standard()
    audit: Standard = Standard()
    warn: Standard = Standard()


def policy_of(labels: Mapping[str, str]) -> tuple[Policy, list[Cause]]:
    """The policy, and what is wrong with the labels; a level that is none is taken for ``restricted``."""
    causes: list[Cause] = []
    enforce = _standard(labels, "enforce", "restricted", causes)
    audit = _standard(labels, "audit", "privileged", causes)
    warn = _standard(labels, "warn", "privileged", causes)
    level = labels.get(f"{_PREFIX}enforce")
    if f"{_PREFIX}warn" not in labels and level in LEVELS and level != "privileged":
        version = warn.version if f"{_PREFIX}warn-version" in labels else enforce.version
        warn = Standard(level, version)
    return Policy(enforce, audit, warn), causes


def _standard(labels: Mapping[str, str], mode: str, otherwise: str, causes: list[Cause]) -> Standard:
    level, version = (
        labels.get(_PREFIX + mode, "privileged"),
        labels.get(f"{_PREFIX}{mode}-version", "latest"),
    )
    if level not in LEVELS:
        field = f"metadata.labels[{_PREFIX}{mode}]"
        causes.append(invalid(field, level, f"must be one of {', '.join(LEVELS)}"))
        level = otherwise
    if version != "latest" and not _VERSION.fullmatch(version):
        field = f"metadata.labels[{_PREFIX}{mode}-version]"
        causes.append(invalid(field, version, 'must be "latest" or "v1.x"'))
        version = "latest"
    return Standard(level, version)


def _check(obj: Object, old: Object | None, context: Context) -> None:
    kind = context.type.resource.group, context.type.resource.plural
    if kind == _NAMESPACES:
        _check_namespace(obj, old, context)
    elif kind == PODS:
        _check_pod(obj, old, context)
    else:
        _warn_of_template(_TEMPLATES[kind](obj), obj["metadata"]["namespace"], context)


def _policy(namespace: str, context: Context) -> Policy:
    found = context.find(*_NAMESPACES, "", namespace) or {}
    return policy_of((found.get("metadata") or {}).get("labels") or {})[0]


def _violation(standard: Standard, metadata: Object, spec: Object) -> str | None:
    found = findings(standard.level, metadata, spec)
    return f'violate PodSecurity "{standard}": {", ".join(map(str, found))}' if found else None


def _check_pod(pod: Object, old: Object | None, context: Context) -> None:
    if old is not None and _images(pod) == _images(old):
        return
    policy = _policy(pod["metadata"]["namespace"], context)
    said = _violation(policy.enforce, pod["metadata"], pod["spec"])
    if said is not None:
        raise refused(pod, context, said.replace("violate ", "violates ", 1))
    _warn(policy, pod["metadata"], pod["spec"], context)


def _images(pod: Object) -> list[list[Any]]:
    kinds = ("initContainers", "containers", "ephemeralContainers")
    return [[one.get("image") for one in pod["spec"].get(kind) or ()] for kind in kinds]


def _warn_of_template(template: Object | None, namespace: str, context: Context) -> None:
    if template is not None:
        metadata, spec = template.get("metadata") or {}, template.get("spec") or {}
        _warn(_policy(namespace, context), metadata, spec, context)


def _warn(policy: Policy, metadata: Object, spec: Object, context: Context) -> None:
    said = _violation(policy.warn, metadata, spec)
    if said is not None:
        context.warnings.append(f"would {said}")


def _check_namespace(namespace: Object, old: Object | None, context: Context) -> None:
    policy, causes = policy_of(namespace["metadata"].get("labels") or {})
    before, old_causes = policy_of((old or {"metadata": {}})["metadata"].get("labels") or {})
    if causes and causes != old_causes:
        raise refusal(context.type.resource, namespace["metadata"]["name"], causes)
    if old is None or policy.enforce == before.enforce:
        return
    stricter = LEVELS.index(policy.enforce.level) > LEVELS.index(before.enforce.level)
    if stricter or (policy.enforce.version != before.enforce.version and policy.enforce.level != LEVELS[0]):
        context.warnings.extend(_about_pods(namespace["metadata"]["name"], policy.enforce, context))


def _about_pods(namespace: str, standard: Standard, context: Context) -> Iterator[str]:
    """What running pods do that the new level forbids: pods that are alike are said once."""
    pods = [one for one in context.all(*PODS) if one["metadata"]["namespace"] == namespace]
    alike: dict[str, list[str]] = {}
    for pod in pods[:_MOST_PODS]:
        found = findings(standard.level, pod["metadata"], pod["spec"])
        if found:
            reasons = ", ".join(one.reason for one in found)
            alike.setdefault(reasons, []).append(str(pod["metadata"]["name"]))
    if len(pods) > _MOST_PODS:
        yield (
            f"new PodSecurity enforce level only checked against the first {_MOST_PODS} of {len(pods)} "
            "existing pods"
        )
    if alike:
        where = f'existing pods in namespace "{namespace}"'
        yield f'{where} violate the new PodSecurity enforce level "{standard}"'
    yield from sorted(_of_several(names, reasons) for reasons, names in alike.items())


def _of_several(names: list[str], reasons: str) -> str:
    others = len(names) - 1
    more = f" (and {others} other pod{'s' if others > 1 else ''})" if others else ""
    return f"{min(names)}{more}: {reasons}"


PLUGIN = Plugin("PodSecurity", frozenset({_NAMESPACES, PODS, *_TEMPLATES}), validate=_check)
