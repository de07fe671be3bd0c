"""Validation of the kinds that create pods, and of changes to them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from informers.apiserver.builtin.pod_rules import validate_spec
from informers.apiserver.errors import Cause
from informers.apiserver.errors.causes import (
    each_invalid,
    forbidden,
    immutable,
    invalid,
    not_negative,
    required,
    shown_inside,
    unsupported,
)
from informers.apiserver.reading.selectors import label_selector_matches
from informers.apiserver.values.names import (
    check_annotations,
    check_labels,
    dns_label,
    label_key,
    label_value,
)
from informers.objects import Object

_OPERATORS = ("DoesNotExist", "Exists", "In", "NotIn")


def validate_selector(selector: Object, field: str) -> Iterator[Cause]:
    """A ``metav1.LabelSelector``."""
    for key, value in sorted((selector.get("matchLabels") or {}).items()):
        yield from each_invalid(f"{field}.matchLabels", key, label_key(key))
        yield from each_invalid(f"{field}.matchLabels", value, label_value(str(value)))
    for position, one in enumerate(selector.get("matchExpressions") or ()):
        inner = f"{field}.matchExpressions[{position}]"
        operator, values = one.get("operator"), one.get("values") or []
        if operator in ("In", "NotIn") and not values:
            yield required(f"{inner}.values", "must be specified when `operator` is 'In' or 'NotIn'")
        elif operator in ("Exists", "DoesNotExist") and values:
            detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            yield forbidden(f"{inner}.values", detail)
        elif operator not in _OPERATORS:
            yield invalid(f"{inner}.operator", operator, "not a valid selector operator")
        if isinstance(one.get("key"), str):
            yield from each_invalid(f"{inner}.key", one["key"], label_key(one["key"]))


def stateful_set(new: Object, old: Object | None) -> Iterator[Cause]:
    """A StatefulSet. Since 1.37 everything but these four fields may change."""
    spec = new["spec"]
    policy = spec.get("podManagementPolicy")
    if policy not in ("OrderedReady", "Parallel"):
        yield invalid("spec.podManagementPolicy", policy, "must be 'OrderedReady' or 'Parallel'")
    yield from _stateful_strategy(spec.get("updateStrategy") or {})
    retention = spec.get("persistentVolumeClaimRetentionPolicy") or {}
    for name in ("whenDeleted", "whenScaled"):
        if retention.get(name) not in ("Retain", "Delete"):
            field = f"spec.persistentVolumeClaimRetentionPolicy.{name}"
            yield unsupported(field, retention.get(name), ("Retain", "Delete"))
    yield from not_negative("spec.replicas", spec.get("replicas"))
    yield from not_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    yield from not_negative("spec.ordinals.start", (spec.get("ordinals") or {}).get("start"))
    if spec.get("serviceName"):
        yield from each_invalid("spec.serviceName", spec["serviceName"], dns_label(spec["serviceName"]))
    claims = frozenset(
        str((one.get("metadata") or {}).get("name")) for one in spec.get("volumeClaimTemplates") or ()
    )
    yield from _selected_template(spec, "statefulset", claims)
    yield from _always_restarts(spec)
    if old is not None:
        before = old["spec"]
        for name in ("selector", "volumeClaimTemplates", "serviceName", "podManagementPolicy"):
            yield from immutable(f"spec.{name}", spec.get(name), before.get(name))


def _stateful_strategy(strategy: Object) -> Iterator[Cause]:
    kind, rolling = strategy.get("type"), strategy.get("rollingUpdate")
    if kind == "RollingUpdate":
        if isinstance(rolling, dict):
            yield from not_negative("spec.updateStrategy.rollingUpdate.partition", rolling.get("partition"))
            field = "spec.updateStrategy.rollingUpdate.maxUnavailable"
            if rolling.get("maxUnavailable") in (0, "0%"):
                yield invalid(field, 0, "cannot be 0")
    elif kind == "OnDelete":
        if rolling is not None:
            field = "spec.updateStrategy.rollingUpdate"
            yield invalid(field, rolling, "only allowed for updateStrategy 'RollingUpdate'")
    else:
        value = shown_inside(Type=kind, RollingUpdate=rolling)
        detail = f"Invalid value: {value}: must be 'RollingUpdate' or 'OnDelete'"
        yield Cause("FieldValueInvalid", detail, "spec.updateStrategy")


def deployment(new: Object, old: Object | None) -> Iterator[Cause]:
    """A Deployment."""
    spec = new["spec"]
    yield from not_negative("spec.replicas", spec.get("replicas"))
    yield from _selected_template(spec, "deployment")
    yield from _always_restarts(spec)
    strategy = spec.get("strategy") or {}
    kind = strategy.get("type")
    if kind == "Recreate":
        if "rollingUpdate" in strategy:
            detail = "may not be specified when strategy `type` is 'Recreate'"
            yield forbidden("spec.strategy.rollingUpdate", detail)
    elif kind != "RollingUpdate":
        yield unsupported("spec.strategy.type", kind, ("Recreate", "RollingUpdate"))
    else:
        rolling = strategy["rollingUpdate"]
        if rolling.get("maxSurge") in (0, "0%") and rolling.get("maxUnavailable") in (0, "0%"):
            detail = "may not be 0 when `maxSurge` is 0"
            yield invalid("spec.strategy.rollingUpdate.maxUnavailable", 0, detail)
    yield from not_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    yield from not_negative("spec.revisionHistoryLimit", spec.get("revisionHistoryLimit"))
    deadline = spec.get("progressDeadlineSeconds")
    if isinstance(deadline, int):
        yield from not_negative("spec.progressDeadlineSeconds", deadline)
        if deadline <= (spec.get("minReadySeconds") or 0):
            yield invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds")
    if old is not None:
        yield from immutable("spec.selector", spec.get("selector"), old["spec"].get("selector"))


def replica_set(new: Object, old: Object | None) -> Iterator[Cause]:
    """A ReplicaSet or DaemonSet."""
    spec = new["spec"]
    yield from not_negative("spec.replicas", spec.get("replicas"))
    yield from not_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    yield from _selected_template(spec, str(new.get("kind", "")).lower())
    yield from _always_restarts(spec)
    if old is not None:
        yield from immutable("spec.selector", spec.get("selector"), old["spec"].get("selector"))


def job(new: Object, old: Object | None) -> Iterator[Cause]:
    """A Job: what it runs may not change."""
    spec = new["spec"]
    for name in (
        "parallelism",
        "completions",
        "backoffLimit",
        "activeDeadlineSeconds",
        "ttlSecondsAfterFinished",
    ):
        yield from not_negative(f"spec.{name}", spec.get(name))
    yield from _template(spec.get("template") or {})
    yield from _once(spec.get("template") or {}, "spec.template")
    if old is not None:
        for name in ("completions", "selector", "template", "completionMode", "podFailurePolicy"):
            yield from immutable(f"spec.{name}", spec.get(name), old["spec"].get(name))


def cron_job(new: Object, old: Object | None) -> Iterator[Cause]:
    """A CronJob."""
    spec = new["spec"]
    if not spec.get("schedule"):
        yield required("spec.schedule")
    elif len(spec["schedule"].split()) != 5 and not spec["schedule"].startswith("@"):
        count = len(spec["schedule"].split())
        detail = f"expected exactly 5 fields, found {count}: [{spec['schedule']}]"
        yield invalid("spec.schedule", spec["schedule"], detail)
    if spec.get("concurrencyPolicy") not in ("Allow", "Forbid", "Replace"):
        yield unsupported(
            "spec.concurrencyPolicy", spec.get("concurrencyPolicy"), ("Allow", "Forbid", "Replace")
        )
    template = ((spec.get("jobTemplate") or {}).get("spec") or {}).get("template") or {}
    yield from validate_spec(template.get("spec") or {}, "spec.jobTemplate.spec.template.spec")
    yield from _once(template, "spec.jobTemplate.spec.template")


def _once(template: Object, field: str) -> Iterator[Cause]:
    policy = (template.get("spec") or {}).get("restartPolicy")
    if policy == "Always":
        yield required(f"{field}.spec.restartPolicy", 'valid values: "OnFailure", "Never"')


def _selected_template(spec: Object, kind: str, claims: frozenset[str] = frozenset()) -> Iterator[Cause]:
    selector = spec.get("selector")
    template = spec.get("template") or {}
    if isinstance(selector, dict):
        yield from validate_selector(selector, "spec.selector")
        if not selector.get("matchLabels") and not selector.get("matchExpressions"):
            yield invalid("spec.selector", selector, f"empty selector is invalid for {kind}")
    labels = (template.get("metadata") or {}).get("labels") or {}
    if not label_selector_matches(selector, labels):
        detail = "`selector` does not match template `labels`"
        yield invalid("spec.template.metadata.labels", labels, detail)
    yield from _template(template, claims)


def _template(template: Object, claims: frozenset[str] = frozenset()) -> Iterator[Cause]:
    metadata = template.get("metadata") or {}
    yield from check_labels(metadata.get("labels") or {}, "spec.template.metadata.labels")
    yield from check_annotations(metadata.get("annotations") or {}, "spec.template.metadata.annotations")
    yield from validate_spec(template.get("spec") or {}, "spec.template.spec", claims)


def _always_restarts(spec: Object) -> Iterator[Cause]:
    pods: Any = (spec.get("template") or {}).get("spec") or {}
    if pods.get("restartPolicy") != "Always":
        yield unsupported("spec.template.spec.restartPolicy", pods.get("restartPolicy"), ("Always",))
