"""Creating and changing objects: one path for every kind, from what was sent to what is stored.

A write runs from its first check to its commit without waiting for anything, so writes are serial and need
no lock.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from informers.apiserver import fields
from informers.apiserver.admission.namespaces import check_namespace
from informers.apiserver.builtin import lifecycle, rules
from informers.apiserver.builtin.certificates import APPROVAL, REQUEST, unowned
from informers.apiserver.builtin.context import Context
from informers.apiserver.errors import Cause, StatusError
from informers.apiserver.errors.refusals import (
    already_exists,
    bad_request,
    conflict,
    forbidden,
    invalid,
    not_found,
    precondition_failed,
    undecodable_patch,
)
from informers.apiserver.fields import Manager
from informers.apiserver.kinds import definitions
from informers.apiserver.kinds.conversion import storable
from informers.apiserver.kinds.registry import ResourceType
from informers.apiserver.kinds.table import DEFINITION
from informers.apiserver.reading.selection import shown, stored_of
from informers.apiserver.requests.calls import Call, ObjectOutcome
from informers.apiserver.requests.parameters import write_options
from informers.apiserver.store import Stored
from informers.apiserver.values.names import generated_name
from informers.apiserver.writing.allotted import without_allotted
from informers.apiserver.writing.backend import Backend
from informers.apiserver.writing.identity import require_identity
from informers.apiserver.writing.metadata import (
    born,
    carried_over,
    check_metadata,
    finalizer_warnings,
    new_uid,
)
from informers.apiserver.writing.shapes import misfit
from informers.apiserver.writing.unenforced import refuse_unenforced, warning_of
from informers.objects import Object, ObjectKey

_LONGEST_VERSION = 64
_NAME_ATTEMPTS = 8


class Write:
    """One create, update or patch on its way.

    :param backend: the store, and what decides how it may change.
    :param call: the request.
    """

    def __init__(self, backend: Backend, call: Call) -> None:
        self.backend = backend
        self.call = call
        self.info = call.info
        self.type = call.info.type
        self.options = write_options(call.info.query, call.info.verb)
        self.warnings: list[str] = []
        self.now = backend.now()
        self.patched: Any = None
        """What a patch made of the object, for refusals that show it."""

    @property
    def manager_name(self) -> str:
        """The field manager: as named, or the client's program."""
        if self.options.manager:
            return self.options.manager
        program = self.call.user_agent.partition("/")[0]
        return "".join(filter(str.isprintable, program))[:128] or "unknown"

    def manager(self, *, applies: bool = False) -> Manager:
        """Who writes, for ``managedFields``."""
        return Manager(
            self.manager_name,
            "Apply" if applies else "Update",
            self.type.resource.api_version,
            self.info.subresource if self.info.subresource != "finalize" else "",
        )

    @property
    def context(self) -> Context:
        """What the rules of the kind may know."""
        user = self.call.user_info
        return self.backend.context(self.type, self.info.subresource, user, self.warnings)

    def live(self) -> Stored | None:
        """The object as it is now, in the version of the request."""
        found = stored_of(self.backend.store, self.info)
        return shown(self.type, found) if found is not None else None

    def decoded(self, obj: Object) -> Object:
        """The object without fields its kind does not know.

        :raises StatusError: 400 for such fields when validation is strict, and for values its Go type could
            not take.
        """
        if self.type.schema is None:
            return obj
        found = misfit(obj, self.type)
        if found:
            raise self.undecodable(f"json: cannot unmarshal {found}")
        pruned, unknown = self.type.schema.pruned(obj)
        if unknown and self.options.validation != "Ignore":
            problems = [f'unknown field "{path}"' for path in unknown]
            if self.options.validation == "Strict":
                raise self.undecodable(f"strict decoding error: {', '.join(problems)}")
            self.warnings.extend(problems)
        return pruned

    def undecodable(self, why: str) -> StatusError:
        """What was sent, or what a patch makes of an object, is no object of this kind."""
        kind, version = self.type.resource.kind, self.type.resource.version
        if self.patched is not None and (not self.type.custom or why.startswith("strict decoding")):
            return undecodable_patch(self.patched, why.partition(f"handled as a {kind}: ")[2] or why)
        return bad_request(f'{kind} in version "{version}" cannot be handled as a {kind}: {why}')

    def untouched(self, obj: Object) -> list[tuple[str, ...]]:
        """What a write to this (sub)resource leaves alone and does not come to own."""
        if (self.type.resource.group, self.type.resource.kind) == REQUEST:
            return unowned(self.info.subresource)
        if self.info.subresource in ("status", APPROVAL):
            if self.type.custom:
                return [(key,) for key in obj if key not in ("apiVersion", "kind", "status")]
            return [("spec",)]
        return [("status",)] if self.type.has_status else []

    def create(self, obj: Object, *, applied: bool = False, code: int = 201) -> ObjectOutcome:
        """Make a new object of what was sent.

        :param applied: ``metadata.managedFields`` is already right.
        """
        check_namespace(self.backend.store, self.type, self.info.namespace, obj["metadata"].get("name", ""))
        if self.type.terminating:
            why = "create not allowed while custom resource definition is terminating"
            raise forbidden(self.type.resource, obj["metadata"].get("name", ""), why)
        base = obj["metadata"].get("generateName")
        if obj["metadata"].get("name") or not base:
            return self._create(obj, applied=applied, code=code)
        for _ in range(_NAME_ATTEMPTS - 1):
            try:
                return self._create(self._named(obj, base), applied=applied, code=code)
            except StatusError as error:
                if error.reason != "AlreadyExists":
                    raise
        return self._create(self._named(obj, base), applied=applied, code=code)

    def _named(self, obj: Object, base: str) -> Object:
        return {**obj, "metadata": {**obj["metadata"], "name": generated_name(base, self.backend.rng)}}

    def _create(self, obj: Object, *, applied: bool, code: int) -> ObjectOutcome:
        if not obj["metadata"].get("name"):
            text = "Required value: name or generateName is required"
            raise invalid(self.type.resource, "", [Cause("FieldValueRequired", text, "metadata.name")])
        metadata = born(
            obj["metadata"],
            namespace=self.info.namespace,
            uid=new_uid(self.backend.rng),
            now=self.now,
            generation=self.type.generation,
        )
        new = {key: value for key, value in obj.items() if key != "status" or not self.type.has_status}
        new["metadata"] = metadata
        new = self._defaulted(new, None, applied=applied)
        if not applied:
            new = self._tracked(new, None, obj)
        new = self._admitted(new, None)
        new = self._finished(new, None)
        if not self.options.dry_run:
            _check_version(str(obj["metadata"].get("resourceVersion") or "")[:_LONGEST_VERSION])
        if self.backend.store.shelf(self.type.storage).get(ObjectKey.of(new)) is not None:
            raise already_exists(self.type.resource, new["metadata"]["name"])
        return self._committed(new, code)

    def _defaulted(self, new: Object, old: Object | None, *, applied: bool) -> Object:
        if self.type.schema is not None:
            # An applied null of a built-in kind still passes through its Go type.
            custom = self.type.custom
            # Go types take 2.0 for a whole number only where it has been through plain values before.
            whole = custom or applied or self.patched is not None or self.type.resource == DEFINITION
            new = self.type.schema.defaulted(new, keep_nulls=applied and custom, whole=whole)
        if self.type.resource == DEFINITION:
            return definitions.prepared(new, old)
        if self.type.custom:
            return new
        if old is None:
            return rules.prepare_create(new, self.context)
        try:
            return rules.prepare_update(new, old, self.context)
        except StatusError as error:
            if self.patched is None or error.code != 400:
                raise
            raise self.undecodable(error.message) from None

    def _finished(self, new: Object, old: Object | None) -> Object:
        """What is changed after ownership has been noted and everything checked."""
        if self.type.resource == DEFINITION:
            return definitions.finished(new)
        return new if self.type.custom else rules.finish(new, old, self.context)

    def _admitted(self, new: Object, old: Object | None) -> Object:
        """The object as the admission plugins complete it, after everybody has found it right.

        :raises StatusError: 422 for what is not valid, 403 by a plugin.
        """
        if self.type.custom:
            self._check(new, old)
            return new
        context = self.context
        new = self.backend.admission.mutate(new, old, context)
        self._check(new, old)
        self.backend.admission.validate(new, old, context)
        return new

    def _check(self, new: Object, old: Object | None) -> None:
        if not self.type.custom:
            refuse_unenforced(self.type.resource, new)
            if (warning := warning_of(self.type.resource)) is not None:
                self.warnings.append(warning)
        causes = list(check_metadata(new, old, self.type))
        if self.type.schema is not None:
            # Ownership is the server's own work, and the larger part of a small object.
            found = self.type.schema.validate(without_ownership(new), old and without_ownership(old))
            if not self.type.custom:
                self._check_types(found)
            elif self.info.subresource == "status":
                found = [_of_status(cause) for cause in found]
            causes.extend(found)
        if self.type.resource == DEFINITION:
            causes.extend(definitions.check(new, old))
        elif not self.type.custom:
            causes.extend(rules.validate(new, old, self.context))
        if causes:
            resource = self.type.resource
            if resource.group == "events.k8s.io":
                # Both forms of events share their rules, and the core group's name.
                resource = replace(resource, group="")
            raise invalid(resource, new["metadata"]["name"], _once(causes))
        if old is None or old["metadata"].get("finalizers") != new["metadata"].get("finalizers"):
            self.warnings.extend(finalizer_warnings(new["metadata"]))

    def _check_types(self, causes: list[Cause]) -> None:
        """A built-in kind is decoded into typed fields: what does not fit is no object at all."""
        wrong = [cause for cause in causes if cause.reason == "FieldValueTypeInvalid"]
        if wrong:
            raise self.undecodable(f"json: cannot unmarshal: {wrong[0].message}")

    def update(self, sent: Object, live: Stored, *, applied: bool = False) -> ObjectOutcome:
        """Replace an object by what was sent, as far as this (sub)resource lets it.

        :param applied: ``metadata.managedFields`` is already right.
        """
        old = live.obj
        new = {**sent, "metadata": carried_over(sent["metadata"], old["metadata"])}
        new = self._isolated(new, old)
        new = self._defaulted(new, old, applied=applied)
        new = self._counted(new, old)
        if not applied:
            new = self._tracked(new, old, sent)
        new = self._admitted(new, old)
        new = self._finished(new, old)
        if same(new, old):
            return ObjectOutcome(200, old, live, tuple(self.warnings))
        if may_go(new):
            return self._gone(new)
        return self._committed(new, 200)

    def _tracked(self, new: Object, old: Object | None, sent: Object) -> Object:
        """The object with the ownership this write leads to."""
        entries = new["metadata"].get("managedFields")
        if old is not None and (entries == [{}] or not (entries or old["metadata"].get("managedFields"))):
            # Ownership that was given up is not taken up again before somebody applies.
            metadata = {key: value for key, value in new["metadata"].items() if key != "managedFields"}
            return {**new, "metadata": metadata}
        tracked = fields.track(
            old and without_allotted(self.type, old, sent),
            without_allotted(self.type, new, sent),
            self.type.schema,
            self.manager(),
            now=self.now,
            ignore=self.untouched(new),
        )
        metadata = {**new["metadata"], "managedFields": tracked["metadata"].get("managedFields")}
        if not metadata["managedFields"]:
            del metadata["managedFields"]
        return {**new, "metadata": metadata}

    def _isolated(self, new: Object, old: Object) -> Object:
        """Status and everything else are written apart."""
        subresource = self.info.subresource
        if subresource == "finalize":
            sent = new.get("spec") or {}
            if not isinstance(sent, dict):
                raise bad_request("spec of a Namespace must be an object")
            return {**old, "spec": {**old.get("spec", {}), "finalizers": sent.get("finalizers") or []}}
        if subresource not in ("status", APPROVAL):
            if not self.type.has_status:
                return new
            new = {key: value for key, value in new.items() if key != "status"}
            return {**new, "status": old["status"]} if "status" in old else new
        if not self.type.custom:
            return lifecycle.isolate_status(new, old, self.type.resource)
        result = {key: value for key, value in old.items() if key != "status"}
        metadata = dict(old["metadata"])
        if "managedFields" in new["metadata"]:
            metadata["managedFields"] = new["metadata"]["managedFields"]
        result["metadata"] = metadata
        return {**result, "status": new["status"]} if "status" in new else result

    def _counted(self, new: Object, old: Object) -> Object:
        if not self.type.generation or not self._spec_changed(new, old):
            return new
        count = int(old["metadata"].get("generation", 0)) + 1
        return {**new, "metadata": {**new["metadata"], "generation": count}}

    def _spec_changed(self, new: Object, old: Object) -> bool:
        if not self.type.custom:
            return lifecycle.spec_changed(new, old, self.type.resource)
        apart = {"metadata", "status"} if self.type.has_status else {"metadata"}
        return any(new.get(key) != old.get(key) for key in (new.keys() | old.keys()) - apart)

    def _committed(self, new: Object, code: int) -> ObjectOutcome:
        if self.options.dry_run:
            return ObjectOutcome(code, new, None, tuple(self.warnings))
        stored = self.backend.put(self.type, self._storable(new))
        answer = shown(self.type, stored)
        return ObjectOutcome(code, answer.obj, answer, tuple(self.warnings))

    def _storable(self, new: Object) -> Object:
        found = storable(new, self.type)
        kept = self.backend.registry.of(self.type.stored_as)
        if found is new or not self.type.custom or kept is None or kept.schema is None:
            return found
        # Another version was sent: the defaults of the stored one are still missing.
        return kept.schema.defaulted(found)

    def _gone(self, new: Object) -> ObjectOutcome:
        """The last finalizer was removed: the object goes within this very request."""
        if not self.options.dry_run:
            self.backend.remove(self.type, ObjectKey.of(new))
        return ObjectOutcome(200, new, None, tuple(self.warnings))


def _of_status(cause: Cause) -> Cause:
    """A finding of a write to ``/status``: it is checked on its own, and its fields are called from there."""
    below = cause.field.removeprefix("status").removeprefix(".")
    return cause._replace(message=cause.message.replace(f"{cause.field} in body", f"{below} in body"))


def _check_version(version: str) -> None:
    """A new object has no version; what could be none is passed over.

    :raises StatusError: 500, without a reason, for one that some stored object could have.
    """
    # More digits than fit are no version, and Python refuses to read some thousand of them.
    version = version.lstrip("0") if version.isascii() and version.isdigit() else ""
    if version and len(version) <= 20 and int(version) < 2**64:
        raise StatusError(500, "", "resourceVersion should not be set on objects to be created")


def _once(causes: list[Cause]) -> list[Cause]:
    """Every finding once: that a field is missing is found by the schema and by rules."""
    found: dict[tuple[str, str], Cause] = {}
    for cause in causes:
        identity = "" if cause.reason == "FieldValueRequired" else cause.message
        found.setdefault((cause.field, identity), cause)
    return list(found.values())


def may_go(obj: Object) -> bool:
    """Whether an object is being deleted and nothing holds it any more."""
    metadata = obj["metadata"]
    if not metadata.get("deletionTimestamp") or metadata.get("finalizers"):
        return False
    if obj["kind"] == "Namespace" and (obj.get("spec") or {}).get("finalizers"):
        return False
    return not metadata.get("deletionGracePeriodSeconds")


def same(new: Object, old: Object) -> bool:
    """Whether nothing changed but, at most, the times of field ownership."""
    if new == old:
        return True
    return without_ownership(new) == without_ownership(old) and _owners(new) == _owners(old)


def without_ownership(obj: Object) -> Object:
    """The object without ``metadata.managedFields``."""
    metadata = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    return {**obj, "metadata": metadata}


def _owners(obj: Object) -> list[Object]:
    entries = obj["metadata"].get("managedFields") or ()
    return [{key: value for key, value in entry.items() if key != "time"} for entry in entries]


def create(backend: Backend, call: Call) -> ObjectOutcome:
    """POST to a collection."""
    write = Write(backend, call)
    return write.create(write.decoded(require_identity(call.info, call.body)))


def update(backend: Backend, call: Call) -> ObjectOutcome:
    """PUT to an object or one of its parts."""
    write = Write(backend, call)
    info, type_ = call.info, call.info.type
    sent = write.decoded(require_identity(info, call.body))
    live = write.live()
    if live is None:
        if type_.create_on_update and not info.subresource:
            return write.create(_nowhere(type_, sent))
        raise not_found(type_.resource, info.name)
    check_expected(write, sent["metadata"], live, required=not type_.unconditional or type_.custom)
    return write.update(sent, live)


def _nowhere(type_: ResourceType, sent: Object) -> Object:
    """What an update creates when there is nothing to update: any version will do, an identity cannot."""
    metadata = {key: value for key, value in sent["metadata"].items() if key != "resourceVersion"}
    if metadata.get("uid"):
        raise precondition_failed(type_.resource, ObjectKey.of(sent), metadata["uid"], "")
    return {**sent, "metadata": metadata}


def check_expected(write: Write, sent: Any, live: Stored, *, required: bool) -> None:
    """Compare the version and identity a writer has seen with what is there.

    :raises StatusError: 409 when they differ; 422 when a version is required and missing.
    """
    resource, name = write.type.resource, live.key.name
    metadata = live.obj["metadata"]
    version, uid = sent.get("resourceVersion"), sent.get("uid")
    if uid and uid != metadata["uid"]:
        raise precondition_failed(resource, live.key, uid, metadata["uid"])
    if version and version != "0":
        if version != metadata["resourceVersion"]:
            raise conflict(resource, name)
    elif required:
        text = "Invalid value: 0: must be specified for an update"
        cause = Cause("FieldValueInvalid", text, "metadata.resourceVersion")
        # The one refusal of this sort that calls the object by its resource.
        raise invalid(replace(resource, kind=resource.plural), name, [cause])
