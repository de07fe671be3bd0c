"""The options of a request, read from its query (and the body of a deletion) and checked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from informers.testing.apiserver.errors import Cause, StatusError
from informers.testing.apiserver.refusals import bad_option, bad_options, bad_request
from informers.testing.apiserver.routes import flag

FieldValidation: TypeAlias = Literal["Strict", "Warn", "Ignore"]
Propagation: TypeAlias = Literal["Background", "Foreground", "Orphan"]

_MANAGER_MAX = 128
_VALIDATIONS: Mapping[str, FieldValidation] = {"Strict": "Strict", "Warn": "Warn", "Ignore": "Ignore"}
_PROPAGATIONS: Mapping[str, Propagation] = {
    "Background": "Background",
    "Foreground": "Foreground",
    "Orphan": "Orphan",
}
_DELETE_FIELDS = frozenset(
    {
        "apiVersion",
        "dryRun",
        "gracePeriodSeconds",
        "kind",
        "metadata",
        "orphanDependents",
        "preconditions",
        "propagationPolicy",
    }
)


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
    """

    dry_run: bool = False
    grace_period: int | None = None
    propagation: Propagation | None = None
    uid: str | None = None
    resource_version: str | None = None


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
    dry_run = _dry_run(kind, query.get("dryRun"))
    return WriteOptions(dry_run, manager, _VALIDATIONS[validation], flag(query, "force"))


def _dry_run(kind: str, value: Any) -> bool:
    values = [value] if isinstance(value, str) else list(value or ())
    if not values or values == [""]:
        return False
    if values != ["All"]:
        text = f'Unsupported value: {json.dumps(values)}: supported values: "All"'
        raise bad_option(kind, "dryRun", "FieldValueNotSupported", text)
    return True


def delete_options(query: Mapping[str, str], body: Any) -> DeleteOptions:
    """Read the options of a deletion: from the body when there is one, otherwise from the query.

    :raises StatusError: 400 for a value that makes no sense.
    """
    if not body:
        given: dict[str, Any] = {key: value for key, value in query.items() if key in _DELETE_FIELDS}
        if "orphanDependents" in given:
            given["orphanDependents"] = flag(query, "orphanDependents")
    elif isinstance(body, Mapping) and body.get("kind", "DeleteOptions") == "DeleteOptions":
        given = dict(body)
        unknown = sorted(set(given) - _DELETE_FIELDS)
        if unknown:
            raise bad_request(f"this server does not know the deletion options {', '.join(unknown)}")
    else:
        raise bad_request("the body of a deletion must be a DeleteOptions object")
    preconditions = given.get("preconditions") or {}
    return DeleteOptions(
        _dry_run("DeleteOptions", given.get("dryRun")),
        _number(given.get("gracePeriodSeconds")),
        _propagation(given),
        preconditions.get("uid"),
        preconditions.get("resourceVersion"),
    )


def _propagation(given: Mapping[str, Any]) -> Propagation | None:
    policy, orphan = given.get("propagationPolicy"), given.get("orphanDependents")
    if policy and orphan is not None:
        text = f'Invalid value: "{policy}": orphanDependents and deletionPropagation cannot be both set'
        raise bad_option("DeleteOptions", "propagationPolicy", "FieldValueInvalid", text)
    if orphan is not None:
        return "Orphan" if orphan else "Background"
    if not policy:
        return None
    if policy not in _PROPAGATIONS:
        supported = 'supported values: "Foreground", "Background", "Orphan", "nil"'
        text = f'Unsupported value: "{policy}": {supported}'
        raise bad_option("DeleteOptions", "propagationPolicy", "FieldValueNotSupported", text)
    return _PROPAGATIONS[policy]


def _number(value: Any) -> int | None:
    if value is None or value == "":
        return None
    try:
        number = int(value)
    except (TypeError, ValueError):
        raise bad_request(f'strconv.ParseInt: parsing "{value}": invalid syntax') from None
    return number


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
        max(_number(query.get("limit")) or 0, 0),
        query.get("continue", ""),
        max(_number(query.get("timeoutSeconds")) or 0, 0),
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
    if text.isdecimal():
        return int(text)
    why = f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
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
