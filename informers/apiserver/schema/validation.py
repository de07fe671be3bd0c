"""Validation against a compiled schema, with the messages of a real server.

A cause's message is what follows the field: ``Invalid value: 0: spec.replicas in body should be ...``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from informers.apiserver.errors import Cause
from informers.apiserver.errors.causes import invalid, shown
from informers.apiserver.schema import cel, formats
from informers.apiserver.schema.node import Node
from informers.objects import Object

_MISSING: Any = object()
# What servers put where they do not know the field.
_NOWHERE = "<nil>"
# Rules are not asked of an object with one of these: they could stumble over it.
_BLOCKING = frozenset(
    [
        "FieldValueNotSupported",
        "FieldValueRequired",
        "FieldValueTooLong",
        "FieldValueTooMany",
        "FieldValueTypeInvalid",
    ]
)
_INTERRUPTED = (
    "some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation"
)
_PREFIXES = {
    "FieldValueInvalid": "Invalid value",
    "FieldValueRequired": "Required value",
    "FieldValueForbidden": "Forbidden",
    "FieldValueDuplicate": "Duplicate value",
}


def kind_of(value: Any) -> str:
    """The schema type of a value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


class Validation:
    """One run over one object.

    :param lenient: a built-in kind: an empty text is an absent one, as in its Go type.
    """

    def __init__(self, lenient: bool) -> None:
        self._lenient = lenient
        self._causes: list[Cause] = []
        self._rules: list[tuple[Node, str, Any, Any]] = []

    def run(self, obj: Object, old: Object | None, root: Node, names: Node | None) -> list[Cause]:
        """Everything wrong with an object, schema first; rules only when the shape is right."""
        self._value(obj, root, "", _MISSING if old is None else old)
        if names is not None:
            self._value(obj.get("metadata") or {}, names, "metadata", _MISSING)
        if any(cause.reason in _BLOCKING for cause in self._causes):
            if self._rules:
                self._causes.append(invalid(_NOWHERE, None, _INTERRUPTED))
            return self._causes
        for node, path, value, before in self._rules:
            self._causes.extend(_broken_rules(node, path, value, before))
        return self._causes

    def of_value(self, value: Any, node: Node, path: str) -> list[Cause]:
        """Everything the schema says against one value; rules are not looked at."""
        self._value(value, node, path, _MISSING)
        return self._causes

    def _value(self, value: Any, node: Node, path: str, old: Any) -> None:
        if value is None and (node.nullable or not node.type):
            return
        if node.rules:
            self._rules.append((node, path, value, old))
        # What did not change is not held against the writer: a stricter schema must not block updates.
        if old is not _MISSING and old == value:
            self._collect_rules(value, node, path)
            return
        kind = kind_of(value)
        if not _fits(kind, value, node):
            self._misfit(kind, node, path)
            return
        if isinstance(value, str):
            self._string(value, node, path)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            self._number(value, node, path)
        elif isinstance(value, list):
            self._list(value, node, path, old)
        elif isinstance(value, dict):
            self._map(value, node, path, old)
        self._enum(value, node, path)
        self._junctors(value, node, path)

    def _misfit(self, kind: str, node: Node, path: str) -> None:
        name = node.type or "integer,string"
        if kind == "number" and name == "integer" and node.raw.get("format") in formats.INTEGERS:
            kind, name = "float64", node.raw["format"]
            self._no_format(node, path)
        self._add(path, kind, f'{path} in body must be of type {name}: "{kind}"', type_error=True)

    def _no_format(self, node: Node, path: str) -> None:
        form = node.raw["format"]
        detail = f"Checked value must be of type {node.type} with format {form} in {path}"
        self._add(_NOWHERE, "", detail)

    def _collect_rules(self, value: Any, node: Node, path: str) -> None:
        """Rules below an unchanged value: only those about transitions are still asked."""
        if isinstance(value, dict):
            for key, below in value.items():
                child = node.child(key)
                if child is not None and below is not None:
                    inner = f"{path}.{key}" if path else key
                    if child.rules:
                        self._rules.append((child, inner, below, below))
                    self._collect_rules(below, child, inner)

    def _add(self, path: str, value: Any, detail: str, *, type_error: bool = False) -> None:
        reason = "FieldValueTypeInvalid" if type_error else "FieldValueInvalid"
        self._causes.append(invalid(path, value, detail)._replace(reason=reason))

    def _string(self, value: str, node: Node, path: str) -> None:
        raw = node.raw
        least, most = raw.get("minLength"), raw.get("maxLength")
        # Only the first of these is said.
        if most is not None and len(value) > most:
            self._causes.append(
                Cause("FieldValueTooLong", f"Too long: may not be more than {most} bytes", path)
            )
        elif least is not None and len(value) < least:
            self._add(path, value, f"{path} in body should be at least {least} chars long")
        elif node.pattern is not None and not node.pattern.search(value):
            self._add(path, value, f"{path} in body should match '{raw['pattern']}'")
        form = raw.get("format")
        if form and not (self._lenient and not value) and not formats.matches(form, value):
            detail = f"{path} in body must be of type {form}: {shown(value)}"
            self._add(path, value, detail, type_error=True)

    def _number(self, value: float, node: Node, path: str) -> None:
        raw = node.raw
        least, most, step = raw.get("minimum"), raw.get("maximum"), raw.get("multipleOf")
        if least is not None:
            if raw.get("exclusiveMinimum") and value <= least:
                self._add(path, value, f"{path} in body should be greater than {shown(least)}")
            elif value < least:
                self._add(path, value, f"{path} in body should be greater than or equal to {shown(least)}")
        if most is not None:
            if raw.get("exclusiveMaximum") and value >= most:
                self._add(path, value, f"{path} in body should be less than {shown(most)}")
            elif value > most:
                self._add(path, value, f"{path} in body should be less than or equal to {shown(most)}")
        if step and (value / step) != int(value / step):
            self._add(path, value, f"{path} in body should be a multiple of {shown(step)}")
        limits = formats.INTEGERS.get(raw.get("format") or "")
        if limits and not limits[0] <= value <= limits[1]:
            self._no_format(node, path)

    def _list(self, value: list[Any], node: Node, path: str, old: Any) -> None:
        least, most = node.raw.get("minItems"), node.raw.get("maxItems")
        if most is not None and len(value) > most:
            text = f"Too many: {len(value)}: must have at most {_counted(most, 'item')}"
            self._causes.append(Cause("FieldValueTooMany", text, path))
        if least is not None and len(value) < least:
            self._add(path, len(value), f"{path} in body should have at least {least} items")
        if node.raw.get("uniqueItems") and len({shown(item) for item in value}) < len(value):
            self._add(path, value, f"{path} in body shouldn't contain duplicates")
        before = _by_key(node, old)
        seen: set[str] = set()
        for position, item in enumerate(value):
            inner = f"{path}[{position}]"
            key = _list_key(node, item)
            if key is not None:
                # Built-in kinds have rules of their own about what may stand twice.
                if key in seen and not self._lenient:
                    self._causes.append(Cause("FieldValueDuplicate", f"Duplicate value: {key}", inner))
                seen.add(key)
            if node.items is not None:
                self._value(item, node.items, inner, before.get(key, _MISSING) if key else _MISSING)

    def _map(self, value: Object, node: Node, path: str, old: Any) -> None:
        least, most = node.raw.get("minProperties"), node.raw.get("maxProperties")
        if most is not None and len(value) > most:
            text = f"Too many: {len(value)}: must have at most {_counted(most, 'item')}"
            self._causes.append(Cause("FieldValueTooMany", text, path))
        if least is not None and len(value) < least:
            self._add(path, len(value), f"{path} in body should have at least {least} properties")
        for name in node.required:
            if name not in value:
                inner = f"{path}.{name}" if path else name
                self._causes.append(Cause("FieldValueRequired", "Required value", inner))
        before = old if isinstance(old, dict) else {}
        for key, below in value.items():
            child = node.child(key)
            if child is not None:
                inner = f"{path}.{key}" if path else key
                self._value(below, child, inner, before.get(key, _MISSING))

    def _enum(self, value: Any, node: Node, path: str) -> None:
        allowed = node.raw.get("enum")
        if not allowed or value in allowed or (self._lenient and value == ""):
            return
        supported = ", ".join(f'"{one}"' if isinstance(one, str) else f'"{shown(one)}"' for one in allowed)
        text = f"Unsupported value: {shown(value)}: supported values: {supported}"
        self._causes.append(Cause("FieldValueNotSupported", text, path))

    def _junctors(self, value: Any, node: Node, path: str) -> None:
        for word, parts in node.junctors.items():
            problems = [Validation(self._lenient).of_value(value, part, path) for part in parts]
            count = sum(not found for found in problems)
            closest: list[Cause] = []
            if word == "anyOf" and not count:
                detail, closest = "must validate at least one schema (anyOf)", problems[0]
            elif word == "oneOf" and count != 1:
                found = f"Found {count} valid alternatives" if count else "Found none valid"
                detail = f"must validate one and only one schema (oneOf). {found}"
                closest = [] if count else problems[0]
            elif word == "allOf" and count < len(parts):
                detail, closest = (
                    "must validate all the schemas (allOf)",
                    [one for all in problems for one in all],
                )
            elif word == "not" and count:
                detail = "must not validate the schema (not)"
            else:
                continue
            self._add(_NOWHERE, "", f'"{path}" {detail}')
            self._causes.extend(closest)


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}" + ("" if number == 1 else "s")


def _fits(kind: str, value: Any, node: Node) -> bool:
    if node.int_or_string:
        return kind in ("integer", "string")
    wanted = node.type
    if not wanted or kind == wanted:
        return True
    if wanted == "number":
        return kind == "integer"
    return wanted == "integer" and isinstance(value, float) and value.is_integer()


def _list_key(node: Node, item: Any) -> str | None:
    if node.list_type == "set":
        return shown(item)
    if node.list_type == "map" and isinstance(item, dict):
        return shown({key: item[key] for key in node.keys if key in item})
    return None


def _by_key(node: Node, items: Any) -> dict[str, Any]:
    if not isinstance(items, list) or node.list_type not in ("map", "set"):
        return {}
    return {key: item for item in items if (key := _list_key(node, item)) is not None}


def _broken_rules(node: Node, path: str, value: Any, old: Any) -> Iterator[Cause]:
    known = old is not _MISSING
    unchanged = known and old == value
    shapes: dict[bool, tuple[Any, Any]] = {}
    for rule in cel.rules(node):
        if rule.transition and not known:
            continue
        if unchanged and not rule.transition:
            continue
        if rule.typed not in shapes:
            shapes[rule.typed] = (
                cel.exposed(value, node, renamed=rule.typed),
                cel.exposed(old, node, renamed=rule.typed) if known else None,
            )
        current, before = shapes[rule.typed]
        try:
            if rule.holds(current, before):
                continue
        except cel.EvaluationError as error:
            detail = f"{error} evaluating rule: {rule.message or rule.text}"
            yield invalid(path, node.type or kind_of(value), detail)
            continue
        where = (path + _suffix(rule.field_path)).removeprefix(".")
        yield _failure(rule, where, value, rule.failure(current, before))


def _suffix(field_path: str) -> str:
    return field_path.replace("['", ".").replace("']", "")


def _failure(rule: cel.Rule, path: str, value: Any, text: str) -> Cause:
    reason = rule.reason if rule.reason in _PREFIXES else "FieldValueInvalid"
    prefix = _PREFIXES[reason]
    if reason in ("FieldValueRequired", "FieldValueForbidden"):
        return Cause(reason, f"{prefix}: {text}", path)
    # Composite values would be too long to show.
    about = "" if isinstance(value, dict | list) else f" {shown(value)}"
    if reason == "FieldValueDuplicate":
        return Cause(reason, prefix + (f":{about}" if about else ""), path)
    return Cause(reason, f"{prefix}:{about}: {text}" if about else f"{prefix}: {text}", path)
