"""The options of a request, read from its query (or the body of a deletion) and validated."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from informers.apiserver.errors import Cause, StatusError
from informers.apiserver.errors.refusals import bad_option, bad_options, bad_request
from informers.apiserver.requests.routes import flag, values

FieldValidation: TypeAlias = Literal["Strict", "Warn", "Ignore"]
Propagation: TypeAlias = Literal["Background", "Foreground", "Orphan"]

_MANAGER_MAX = 128
_VALIDATIONS: Mapping[str, FieldValidation] = {"Strict": "Strict", "Warn": "Warn", "Ignore": "Ignore"}
_PROPAGATIONS: Mapping[str, Propagation] = {
    "Background": "Background",
    "Foreground": "Foreground",
    "Orphan": "Orphan",
}
_LONGEST_NUMBER = 100

UNSAFE = "ignoreStoreReadErrorWithClusterBreakingPotential"
"""The option that deletes what a server can no longer read."""


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """Options of create, update and patch.

    :param manager: ``fieldManager``; "" when not given.
    :param validation: what happens to unknown fields; dropped with a warning by default.
    :param force: ``None`` when not given.
    """

    dry_run: bool = False
    manager: str = ""
    validation: FieldValidation = "Warn"
    force: bool | None = None


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """Options of a deletion; ``None`` and "" are what was not given.

    :param grace_period: seconds.
    :param uid: precondition.
    :param resource_version: precondition.
    :param unsafe: ``ignoreStoreReadErrorWithClusterBreakingPotential``.
    """

    dry_run: bool = False
    grace_period: int | None = None
    propagation: Propagation | None = None
    uid: str | None = None
    resource_version: str | None = None
    unsafe: bool = False


@dataclass(frozen=True, slots=True)
class ListOptions:
    """Options of list and watch.

    :param revision: ``resourceVersion``; ``None`` when not given, 0 for "any".
    :param exact: ``resourceVersionMatch``: the list of that very revision; ``None`` when not given.
    :param limit: items per page, 0 for all.
    :param timeout: seconds after which a watch ends, 0 for the server's choice.
    :param initial: ``sendInitialEvents``; ``None`` when not given.
    """

    labels: str = ""
    fields: str = ""
    revision: int | None = None
    exact: bool | None = None
    limit: int = 0
    token: str = ""
    timeout: int = 0
    bookmarks: bool = False
    initial: bool | None = None


def write_options(query: Mapping[str, str], verb: str = "create") -> WriteOptions:
    """Read the options of a write.

    :param verb: names the options in refusals.
    :raises StatusError: 422 for a value that makes no sense.
    """
    kind = f"{verb.capitalize()}Options"
    validation = query.get("fieldValidation") or "Warn"
    if validation not in _VALIDATIONS:
        supported = 'supported values: "", "Ignore", "Strict", "Warn"'
        text = f'Unsupported value: "{validation}": {supported}'
        raise bad_option(kind, "fieldValidation", "FieldValueNotSupported", text)
    manager = query.get("fieldManager", "")
    if len(manager.encode()) > _MANAGER_MAX:
        text = f"Too long: may not be more than {_MANAGER_MAX} bytes"
        raise bad_option(kind, "fieldManager", "FieldValueTooLong", text)
    dry_run = _dry_run(kind, values(query, "dryRun"))
    return WriteOptions(dry_run, manager, _VALIDATIONS[validation], flag(query, "force"))


def _dry_run(kind: str, given: list[str]) -> bool:
    if not given:
        return False
    if set(given) != {"All"}:
        text = f'Unsupported value: {json.dumps(given, separators=(",", ":"))}: supported values: "All"'
        raise bad_option(kind, "dryRun", "FieldValueNotSupported", text)
    return True


def delete_options(query: Mapping[str, str], body: Any) -> DeleteOptions:
    """Read the options of a deletion: from the body when there is one, otherwise from the query.

    :raises StatusError: 400 for a value that makes no sense.
    """
    if not body:
        given: dict[str, Any] = {key: query[key] for key in ("propagationPolicy",) if key in query}
        given["dryRun"] = values(query, "dryRun")
        given["gracePeriodSeconds"] = number_of(query, "gracePeriodSeconds")
        for name in ("orphanDependents", UNSAFE):
            given[name] = flag(query, name)
        given["preconditions"] = {key: query[key] for key in ("uid", "resourceVersion") if query.get(key)}
    elif isinstance(body, Mapping) and body.get("kind", "DeleteOptions") == "DeleteOptions":
        given = dict(body)
    else:
        raise bad_request("the body of a deletion must be a DeleteOptions object")
    grace = given.get("gracePeriodSeconds")
    if grace is not None and (not isinstance(grace, int) or isinstance(grace, bool)):
        raise bad_request(f"gracePeriodSeconds of the DeleteOptions is not an integer: {json.dumps(grace)}")
    preconditions, dry_run = given.get("preconditions") or {}, given.get("dryRun") or []
    if not isinstance(preconditions, Mapping) or not isinstance(given.get("propagationPolicy"), str | None):
        raise bad_request("preconditions of the DeleteOptions must be an object, propagationPolicy a string")
    if not isinstance(dry_run, list | tuple) or not all(isinstance(one, str) for one in dry_run):
        raise bad_request("dryRun of the DeleteOptions must be a list of strings")
    return DeleteOptions(
        _dry_run("DeleteOptions", list(dry_run)),
        grace,
        _propagation(given),
        preconditions.get("uid"),
        preconditions.get("resourceVersion"),
        bool(given.get(UNSAFE)),
    )


def _propagation(given: Mapping[str, Any]) -> Propagation | None:
    policy, orphan = given.get("propagationPolicy"), given.get("orphanDependents")
    if policy and orphan is not None:
        text = f'Invalid value: "{policy}": orphanDependents and deletionPropagation cannot be both set'
        raise bad_option("DeleteOptions", "propagationPolicy", "FieldValueInvalid", text)
    if orphan is not None:
        return "Orphan" if orphan else "Background"
    if policy is None:
        return None
    if policy not in _PROPAGATIONS:
        supported = 'supported values: "Foreground", "Background", "Orphan", "nil"'
        text = f'Unsupported value: "{policy}": {supported}'
        raise bad_option("DeleteOptions", "propagationPolicy", "FieldValueNotSupported", text)
    return _PROPAGATIONS[policy]


def number_of(query: Mapping[str, str], name: str) -> int | None:
    """A parameter that is a number of 64 bits; ``None`` when it is not given.

    :raises StatusError: 400 for any other text.
    """
    value = query.get(name)
    if value is None:
        return None
    if re.fullmatch(r"[+-]?[0-9]+", value) is None:
        raise bad_request(f'strconv.ParseInt: parsing "{value}": invalid syntax')
    # Beyond so many digits Python refuses to read a number at all.
    if len(value) > _LONGEST_NUMBER or not -(2**63) <= int(value) < 2**63:
        raise bad_request(f'strconv.ParseInt: parsing "{value}": value out of range')
    return int(value)


def list_options(query: Mapping[str, str], *, watch: bool) -> ListOptions:
    """Read the options of a list, a watch or the deletion of a collection.

    :raises StatusError: 400 or 422 for values, or combinations of them, that make no sense.
    """
    match = query.get("resourceVersionMatch", "")
    options = ListOptions(
        query.get("labelSelector", ""),
        query.get("fieldSelector", ""),
        revision_of(query.get("resourceVersion", ""), listing=not watch),
        {"Exact": True, "NotOlderThan": False}.get(match),
        max(number_of(query, "limit") or 0, 0),
        query.get("continue", ""),
        max(number_of(query, "timeoutSeconds") or 0, 0),
        flag(query, "allowWatchBookmarks") or False,
        flag(query, "sendInitialEvents"),
    )
    if match and options.exact is None:
        text = f'Unsupported value: "{match}": supported values: "Exact", "NotOlderThan", ""'
        raise bad_option("ListOptions", "resourceVersionMatch", "FieldValueNotSupported", text)
    problems = list(_watch_problems(options) if watch else _list_problems(options))
    if problems:
        raise bad_options("ListOptions", problems)
    return options


def revision_of(text: str, *, listing: bool = False) -> int | None:
    """A ``resourceVersion`` parameter.

    :raises StatusError: for a text that is no number; what servers answer depends on what was asked.
    """
    if not text:
        return None
    problem = "invalid syntax"
    if text.isascii() and text.isdecimal():
        # Beyond so many digits Python refuses to read a number at all.
        if len(text) <= _LONGEST_NUMBER and int(text) < 2**64:
            return int(text)
        problem = "value out of range"
    why = f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": {problem}'
    raise bad_request(f"invalid resource version: {why}") if listing else StatusError(500, "", why)


def _forbidden(field: str, why: str) -> Cause:
    return Cause("FieldValueForbidden", f"Forbidden: {why}", field)


def _list_problems(options: ListOptions) -> Iterator[Cause]:
    if options.initial is not None:
        yield _forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list")
    if options.exact is None:
        return
    field = "resourceVersionMatch"
    if options.revision is None:
        yield _forbidden(field, f"{field} is forbidden unless resourceVersion is provided")
    if options.token:
        yield _forbidden(field, f"{field} is forbidden when continue is provided")
    if options.exact and options.revision == 0:
        yield _forbidden(field, f'{field} "exact" is forbidden for resourceVersion "0"')


def _watch_problems(options: ListOptions) -> Iterator[Cause]:
    field = "resourceVersionMatch"
    if options.initial is None:
        if options.exact is not None:
            yield _forbidden(field, f"{field} is forbidden for watch unless sendInitialEvents is provided")
        return
    if options.exact is not False:
        yield _forbidden(field, f"sendInitialEvents requires setting {field} to NotOlderThan")
    if options.exact:
        text = 'Unsupported value: "Exact": supported values: "NotOlderThan"'
        yield Cause("FieldValueNotSupported", text, field)
