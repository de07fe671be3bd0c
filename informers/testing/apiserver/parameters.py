"""The options of a request, read from its query (and the body of a deletion) and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from informers.objects import Resource
from informers.testing.apiserver.errors import Cause
from informers.testing.apiserver.refusals import bad_request, invalid
from informers.testing.apiserver.routes import flag

FieldValidation: TypeAlias = Literal["Strict", "Warn", "Ignore"]
Propagation: TypeAlias = Literal["Background", "Foreground", "Orphan"]

_LIST_OPTIONS = Resource("meta.k8s.io", "v1", "listoptions", "ListOptions")
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


def write_options(query: Mapping[str, str]) -> WriteOptions:
    """Read the options of a write.

    :raises StatusError: 400 for a value that makes no sense.
    """
    validation = query.get("fieldValidation") or "Warn"
    if validation not in _VALIDATIONS:
        raise bad_request(f'fieldValidation: Unsupported value: "{validation}"')
    manager = query.get("fieldManager", "")
    if len(manager) > 128:
        raise bad_request("fieldManager: Too long: may not be more than 128 bytes")
    return WriteOptions(
        _dry_run(query.get("dryRun")), manager, _VALIDATIONS[validation], flag(query, "force")
    )


def _dry_run(value: Any) -> bool:
    values = [value] if isinstance(value, str) else list(value or ())
    if not values or values == [""]:
        return False
    if values != ["All"]:
        raise bad_request(f'dryRun: Unsupported value: {values}: supported values: "All"')
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
        _dry_run(given.get("dryRun")),
        _number("gracePeriodSeconds", given.get("gracePeriodSeconds")),
        _propagation(given),
        preconditions.get("uid"),
        preconditions.get("resourceVersion"),
    )


def _propagation(given: Mapping[str, Any]) -> Propagation | None:
    policy, orphan = given.get("propagationPolicy"), given.get("orphanDependents")
    if policy and orphan is not None:
        raise bad_request("orphanDependents and propagationPolicy cannot be both set")
    if orphan is not None:
        return "Orphan" if orphan else "Background"
    if not policy:
        return None
    if policy not in _PROPAGATIONS:
        supported = ", ".join(f'"{one}"' for one in (*_PROPAGATIONS, "nil"))
        raise bad_request(f'propagationPolicy: Unsupported value: "{policy}": supported values: {supported}')
    return _PROPAGATIONS[policy]


def _number(name: str, value: Any) -> int | None:
    if value is None or value == "":
        return None
    try:
        number = int(value)
    except (TypeError, ValueError):
        raise bad_request(f"{name}: {value!r} is not a whole number") from None
    return number


def list_options(query: Mapping[str, str], *, watch: bool) -> ListOptions:
    """Read the options of a list, a watch or the deletion of a collection.

    :raises StatusError: 400 or 422 for values, or combinations of them, that make no sense.
    """
    options = ListOptions(
        query.get("labelSelector", ""),
        query.get("fieldSelector", ""),
        _revision(query.get("resourceVersion", "")),
        _exact(query.get("resourceVersionMatch", "")),
        max(_number("limit", query.get("limit")) or 0, 0),
        query.get("continue", ""),
        max(_number("timeoutSeconds", query.get("timeoutSeconds")) or 0, 0),
        flag(query, "allowWatchBookmarks") or False,
        flag(query, "sendInitialEvents"),
    )
    problem = _initial_problem(options) if watch else _list_problem(options)
    if problem:
        raise invalid(_LIST_OPTIONS, "", [problem])
    return options


def _revision(text: str) -> int | None:
    if not text:
        return None
    if not text.isdecimal():
        raise bad_request(f'resourceVersion: Invalid value: "{text}": must be a number')
    return int(text)


def _exact(text: str) -> bool | None:
    if not text:
        return None
    if text not in ("Exact", "NotOlderThan"):
        raise bad_request(
            f'resourceVersionMatch: Unsupported value: "{text}": supported values: "Exact", "NotOlderThan"'
        )
    return text == "Exact"


def _forbidden(field: str, why: str) -> Cause:
    return Cause("FieldValueForbidden", f"Forbidden: {why}", field)


def _list_problem(options: ListOptions) -> Cause | None:
    if options.initial is not None:
        return _forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list")
    if options.exact is None:
        return None
    field = "resourceVersionMatch"
    if options.revision is None:
        return _forbidden(field, f"{field} is forbidden unless resourceVersion is provided")
    if options.token:
        return _forbidden(field, f"{field} is forbidden when continue is provided")
    if options.exact and options.revision == 0:
        return _forbidden(field, f'{field} "exact" is forbidden for resourceVersion "0"')
    return None


def _initial_problem(options: ListOptions) -> Cause | None:
    field = "resourceVersionMatch"
    if options.initial is None:
        if options.exact is not None:
            return _forbidden(field, f"{field} is forbidden for watch unless sendInitialEvents is provided")
        return None
    if options.exact is None:
        why = f"sendInitialEvents requires setting {field} to NotOlderThan"
        return _forbidden(field, why)
    if options.exact:
        return Cause(
            "FieldValueNotSupported", 'Unsupported value: "Exact": supported values: "NotOlderThan"', field
        )
    return None
