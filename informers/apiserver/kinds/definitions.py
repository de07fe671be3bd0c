"""CustomResourceDefinition objects: their defaults and rules, and the resource types they make."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from informers.apiserver.errors import Cause, StatusError
from informers.apiserver.errors.causes import invalid
from informers.apiserver.errors.refusals import not_implemented
from informers.apiserver.kinds.registry import ResourceType, ScalePaths
from informers.apiserver.schema import check_structural, compile_schema
from informers.apiserver.schema.shape import misfit
from informers.apiserver.values.names import dns_1035_label, dns_subdomain
from informers.objects import Object, Resource

CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
"""The finalizer of a definition whose objects have to go first."""


def prepared(new: Object, old: Object | None) -> Object:
    """A definition with the server's defaults and what only the server decides in its status."""
    spec = dict(new.get("spec") or {})
    names = dict(spec.get("names") or {})
    if names.get("kind"):
        names.setdefault("singular", names["kind"].lower())
        names.setdefault("listKind", names["kind"] + "List")
    spec["names"] = names
    spec.setdefault("conversion", {"strategy": "None"})
    new = {**new, "spec": spec}
    storage = [one["name"] for one in _versions(new) if one.get("storage") and one.get("name")]
    if old is None:
        accepted = {"kind": "", "plural": ""}
        return {**new, "status": {"conditions": [], "acceptedNames": accepted, "storedVersions": storage}}
    status = dict(new.get("status") or {})
    stored = list(status.get("storedVersions") or ())
    status["storedVersions"] = stored + [name for name in storage if name not in stored]
    return {**new, "status": status}


def finished(new: Object) -> Object:
    """A checked definition as it is shown: without any condition yet there is no list of them either."""
    status = new.get("status") or {}
    return {**new, "status": {**status, "conditions": status.get("conditions") or None}}


def _versions(obj: Object) -> list[Object]:
    found = (obj.get("spec") or {}).get("versions") or []
    return [one for one in found if isinstance(one, dict)]


def check(new: Object, old: Object | None) -> Iterator[Cause]:
    """What is wrong with a definition, beside its shape.

    :raises StatusError: 501 for a conversion webhook.
    """
    spec = new["spec"]
    if (spec.get("conversion") or {}).get("strategy") != "None":
        raise not_implemented(
            "this server does not call conversion webhooks; set spec.conversion.strategy to None"
        )
    names, group = spec["names"], spec.get("group", "")
    plural = names.get("plural", "")
    if old is not None:
        yield from _check_change(new, old)
    elif new["metadata"]["name"] != f"{plural}.{group}":
        yield invalid("metadata.name", new["metadata"]["name"], 'must be spec.names.plural+"."+spec.group')
    if not group:
        yield Cause("FieldValueRequired", "Required value", "spec.group")
    for problem in dns_subdomain(group) if group else ():
        yield invalid("spec.group", group, problem)
    for field in ("plural", "singular"):
        for problem in dns_1035_label(names.get(field, "")):
            yield invalid(f"spec.names.{field}", names.get(field, ""), problem)
    for field in ("kind", "listKind"):
        for problem in dns_1035_label(str(names.get(field, "")).lower()):
            yield invalid(f"spec.names.{field}", names.get(field, ""), f"may have mixed case, but {problem}")
    if spec.get("scope") not in ("Cluster", "Namespaced"):
        supported = 'supported values: "Cluster", "Namespaced"'
        text = f'Unsupported value: "{spec.get("scope", "")}": {supported}'
        yield Cause("FieldValueNotSupported", text, "spec.scope")
    yield from _check_versions(new)


def _check_versions(new: Object) -> Iterator[Cause]:
    versions = _versions(new)
    names = [one.get("name") for one in versions]
    if len(set(names)) < len(names):
        yield invalid("spec.versions", names, "must contain unique version names")
    if sum(bool(one.get("storage")) for one in versions) != 1:
        text = "must have exactly one version marked as storage version"
        yield invalid("spec.versions", names, text)
    schemas = [(one.get("schema") or {}).get("openAPIV3Schema") for one in versions]
    # Servers keep a schema that all versions share in one place, and say that place.
    shared = all(one == schemas[0] for one in schemas)
    for position, schema in enumerate(schemas[:1] if shared and schemas and schemas[0] else schemas):
        path = f"spec.versions[{position}].schema.openAPIV3Schema"
        if not schema:
            yield Cause("FieldValueRequired", "Required value", path)
            continue
        wrong = misfit(schema, path)
        if wrong is not None:
            # The table of Go types ends where a type contains itself; a server cannot even decode this.
            raise StatusError(400, "BadRequest", f"the schema cannot be decoded: {wrong} is of a wrong type")
        if shared:
            path = "spec.validation.openAPIV3Schema"
        for problem in check_structural(schema):
            where, _, text = problem.partition(": ")
            yield Cause(_reason(text), text, f"{path}.{where}".rstrip("."))
    for stored in (new.get("status") or {}).get("storedVersions") or ():
        if stored not in names:
            text = (
                f"missing from spec.versions; {stored} was previously a storage version, and must remain in "
                "spec.versions until a storage migration ensures no data remains persisted in "
                f"{stored} and removes {stored} from status.storedVersions"
            )
            yield invalid("status.storedVersions", stored, text)


def _reason(text: str) -> str:
    for start, reason in (
        ("Required value", "FieldValueRequired"),
        ("Forbidden", "FieldValueForbidden"),
        ("Unsupported value", "FieldValueNotSupported"),
    ):
        if text.startswith(start):
            return reason
    return "FieldValueTypeInvalid" if " must be of type " in text else "FieldValueInvalid"


def _check_change(new: Object, old: Object) -> Iterator[Cause]:
    if not condition_is_true(old, "Established"):
        return
    for path in (("scope",), ("group",), ("names", "kind"), ("names", "plural")):
        before, after = old["spec"], new["spec"]
        for part in path:
            before, after = before.get(part), after.get(part)
        if before != after:
            yield invalid("spec." + ".".join(path), after, "field is immutable")


def condition_is_true(obj: Object, kind: str) -> bool:
    """Whether a condition of a definition holds."""
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return any(one["type"] == kind and one["status"] == "True" for one in conditions)


def with_condition(obj: Object, kind: str, status: str, reason: str, message: str, now: str) -> Object:
    """The definition with a condition; its time moves only when its status does."""
    found = dict(obj.get("status") or {})
    conditions = list(found.get("conditions") or ())
    new = {
        "type": kind,
        "status": status,
        "lastTransitionTime": now,
        "reason": reason,
        "message": message,
    }
    for position, old in enumerate(conditions):
        if old["type"] == kind:
            if old["status"] == status:
                new["lastTransitionTime"] = old["lastTransitionTime"]
            conditions[position] = new
            break
    else:
        conditions.append(new)
    return {**obj, "status": {**found, "conditions": conditions}}


def terminating(obj: Object, now: str) -> Object:
    """The definition as its deletion begins: held until its objects are gone."""
    metadata = dict(obj["metadata"])
    finalizers = list(metadata.get("finalizers") or ())
    if condition_is_true(obj, "Terminating"):
        return obj
    metadata["finalizers"] = [*finalizers, CLEANUP] if CLEANUP not in finalizers else finalizers
    return with_condition(
        {**obj, "metadata": metadata},
        "Terminating",
        "True",
        "InstanceDeletionPending",
        "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
        now,
    )


def types_of(obj: Object) -> Sequence[ResourceType]:
    """The resource types a definition makes: one per served version."""
    spec, names = obj["spec"], obj["spec"]["names"]

    def resource(version: str) -> Resource:
        namespaced = spec["scope"] == "Namespaced"
        return Resource(spec["group"], version, names["plural"], names["kind"], namespaced)

    storage_version = next(one["name"] for one in spec["versions"] if one.get("storage"))
    return [
        _type(obj, resource(version["name"]), resource(storage_version), version)
        for version in spec["versions"]
        if version.get("served")
    ]


def _type(obj: Object, resource: Resource, stored_as: Resource, version: Object) -> ResourceType:
    names = obj["spec"]["names"]
    subresources: dict[str, Any] = version.get("subresources") or {}
    scale = subresources.get("scale")
    paths = None
    if scale is not None:
        paths = ScalePaths(
            scale["specReplicasPath"], scale["statusReplicasPath"], scale.get("labelSelectorPath") or ""
        )
    return ResourceType(
        resource,
        names.get("singular") or names["kind"].lower(),
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        has_status="status" in subresources,
        scale=paths,
        columns=tuple(version.get("additionalPrinterColumns") or ()),
        custom=True,
        schema=compile_schema(version["schema"]["openAPIV3Schema"]),
        storage=(resource.group, resource.plural),
        storage_version=stored_as,
        generation=True,
        unconditional=False,
        selectable=tuple(one["jsonPath"].lstrip(".") for one in version.get("selectableFields") or ()),
        terminating=bool(obj["metadata"].get("deletionTimestamp")),
    )
