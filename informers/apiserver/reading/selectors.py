"""Label and field selectors: parsed once, matched against many objects. Messages as of a real server."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from informers.apiserver.errors import StatusError
from informers.apiserver.errors.causes import shown
from informers.apiserver.values.names import label_key, label_value
from informers.objects import Object, Resource

__all__ = [
    "FieldSelector",
    "FieldTerm",
    "LabelSelector",
    "field_selector",
    "label_selector_matches",
    "parse_field_selector",
    "parse_label_selector",
]

_OPERATORS = ("in", "notin", "=", "==", "!=", "gt", "lt")
_TOKEN = re.compile(r"==|!=|[=!<>(),]|[^\s=!<>(),]+")
_SYMBOLS = frozenset(["==", "!=", "=", "!", "<", ">", "(", ")", ","])
_INTEGER = re.compile(r"[-+]?\d+", re.ASCII)


class _SyntaxError(Exception):
    """A selector that cannot be read."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one label.

    :param operator: ``in``, ``notin``, ``exists``, ``!``, ``gt`` or ``lt``.
    """

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels fulfil it."""
        value = labels.get(self.key)
        if self.operator == "in":
            return value in self.values
        if self.operator == "notin":
            return value is None or value not in self.values
        if self.operator == "exists":
            return value is not None
        if self.operator == "!":
            return value is None
        if value is None or not _INTEGER.fullmatch(value):
            return False
        (limit,) = self.values
        return int(value) > int(limit) if self.operator == "gt" else int(value) < int(limit)


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """Conditions that must all hold. Without any, everything is selected."""

    requirements: tuple[Requirement, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.requirements)

    def __call__(self, labels: Mapping[str, str] | None) -> bool:
        """Whether an object with these labels is selected."""
        present = labels or {}
        return all(one.holds(present) for one in self.requirements)

    def selects(self, obj: Object) -> bool:
        """Whether an object is selected."""
        return self((obj.get("metadata") or {}).get("labels"))

    @classmethod
    def of(cls, selector: Mapping[str, Any] | None) -> LabelSelector | None:
        """The ``metav1.LabelSelector`` of a spec, taken as valid. ``None`` selects nothing."""
        if selector is None:
            return None
        found = [
            Requirement(key, "in", frozenset([value]))
            for key, value in (selector.get("matchLabels") or {}).items()
        ]
        words = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}
        for one in selector.get("matchExpressions") or ():
            operator = words.get(one.get("operator", ""), "in")
            found.append(Requirement(one.get("key", ""), operator, frozenset(one.get("values") or ())))
        return cls(tuple(found))


EVERYTHING = LabelSelector()


def label_selector_matches(selector: Mapping[str, Any] | None, labels: Mapping[str, str] | None) -> bool:
    """Whether the ``metav1.LabelSelector`` of a spec selects these labels. ``None`` selects nothing."""
    found = LabelSelector.of(selector)
    return found is not None and found(labels)


def parse_label_selector(text: str) -> LabelSelector:
    """A ``labelSelector`` parameter.

    :raises StatusError: 400 for a text that is no selector.
    """
    if not text.strip():
        return EVERYTHING
    try:
        return LabelSelector(tuple(_Parser(text).requirements()))
    except _SyntaxError as error:
        raise _bad(str(error)) from None


class _Parser:
    """Reads tokens one by one. Inside values, ``in`` and the like are words as any other."""

    def __init__(self, text: str) -> None:
        self._tokens = _TOKEN.findall(text)
        self._at = 0

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        word = self._peek()
        self._at += 1
        return word

    def requirements(self) -> Iterator[Requirement]:
        while word := self._peek():
            if word in _SYMBOLS and word != "!":
                raise _SyntaxError(f"found '{word}', expected: !, identifier, or 'end of string'")
            try:
                yield self._requirement()
            except _SyntaxError as error:
                raise _SyntaxError(f"unable to parse requirement: {error}") from None
            separator = self._next()
            if not separator:
                return
            if separator != ",":
                raise _SyntaxError(f"found '{separator}', expected: ',' or 'end of string'")
            following = self._peek()
            if not following or (following in _SYMBOLS and following != "!"):
                raise _SyntaxError(f"found '{following}', expected: identifier after ','")

    def _requirement(self) -> Requirement:
        negated = self._peek() == "!"
        if negated:
            self._next()
        key = self._next()
        if not key or key in _SYMBOLS:
            raise _SyntaxError(f"found '{key}', expected: identifier")
        if problems := label_key(key):
            raise _SyntaxError(f"<nil>: Invalid value: {shown(key)}: {'; '.join(problems)}")
        if self._peek() in ("", ","):
            return Requirement(key, "!" if negated else "exists")
        operator = self._next()
        if operator in ("in", "notin"):
            return _checked(Requirement(key, operator, self._set()))
        if operator in ("=", "==", "!="):
            return _checked(Requirement(key, "notin" if operator == "!=" else "in", self._one()))
        if operator in (">", "<"):
            values = self._one()
            _check_integer(*values)
            return _checked(Requirement(key, "gt" if operator == ">" else "lt", values))
        raise _SyntaxError(f"found '{operator}', expected: {', '.join(_OPERATORS)}")

    def _one(self) -> frozenset[str]:
        if self._peek() in ("", ","):
            return frozenset([""])
        value = self._next()
        if value in _SYMBOLS:
            raise _SyntaxError(f"found '{value}', expected: identifier")
        return frozenset([value])

    def _set(self) -> frozenset[str]:
        word = self._next()
        if word != "(":
            raise _SyntaxError(f"found '{word}' expected: '('")
        first = self._peek()
        if not first or (first in _SYMBOLS and first not in (",", ")")):
            raise _SyntaxError(f"found '{first}', expected: ',', ')' or identifier")
        # An empty place between two separators is the empty value.
        values: set[str] = set()
        empty = True
        while True:
            word = self._next()
            if word in (",", ")"):
                if empty:
                    values.add("")
                if word == ")":
                    return frozenset(values)
                empty = True
            elif not word or word in _SYMBOLS:
                raise _SyntaxError(f"found '{word}', expected: ',', or identifier")
            else:
                if not empty:
                    raise _SyntaxError(f"found '{word}', expected: ',' or ')'")
                values.add(word)
                empty = False


def _check_integer(value: str) -> None:
    if not _INTEGER.fullmatch(value):
        detail = "for 'Gt', 'Lt' operators, the value must be an integer"
        raise _SyntaxError(f"values[0]: Invalid value: {shown(value)}: {detail}")


def _checked(requirement: Requirement) -> Requirement:
    for position, value in enumerate(sorted(requirement.values)):
        if problems := label_value(value):
            where = f"values[{position}][{requirement.key}]"
            raise _SyntaxError(f"{where}: Invalid value: {shown(value)}: {'; '.join(problems)}")
    return requirement


# Where the built-in kinds keep what can be selected. A kind that is not here has its metadata only.
_METADATA = ("metadata.name", "metadata.namespace")
_EVENT_TARGET = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
_FIELDS: Mapping[tuple[str, str], Collection[str]] = {
    ("", "Pod"): (
        *_METADATA,
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.podIPs",
        "status.nominatedNodeName",
    ),
    ("", "Node"): ("metadata.name", "spec.unschedulable"),
    ("", "Namespace"): ("metadata.name", "status.phase"),
    ("", "ReplicationController"): (*_METADATA, "status.replicas"),
    ("", "Secret"): (*_METADATA, "type"),
    ("", "Service"): (*_METADATA, "spec.clusterIP", "spec.type"),
    ("", "Event"): (
        *_METADATA,
        *(f"involvedObject.{name}" for name in _EVENT_TARGET),
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
    ("events.k8s.io", "Event"): (
        *_METADATA,
        *(f"regarding.{name}" for name in _EVENT_TARGET),
        "reason",
        "reportingController",
        "type",
    ),
    ("batch", "Job"): (*_METADATA, "status.successful"),
}
_ALIASES: Mapping[tuple[str, str], Mapping[str, str]] = {("", "Pod"): {"spec.host": "spec.nodeName"}}


def _text_at(obj: Object, path: str) -> str:
    value: Any = obj
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _flag_at(obj: Object, path: str) -> str:
    return _text_at(obj, path) or "false"


def _count_at(obj: Object, path: str) -> str:
    return _text_at(obj, path) or "0"


# Both forms of an event are one stored object; which one is at hand depends on who asks.
_EVENT_NAMES = {"involvedObject": "regarding", "reportingComponent": "reportingController"}


def _of_event(obj: Object, path: str) -> str:
    head, dot, rest = path.partition(".")
    if head == "source":
        source = obj.get("source") or obj.get("deprecatedSource") or {}
        return str(source.get("component") or _of_event(obj, "reportingComponent"))
    for core, other in _EVENT_NAMES.items():
        if head in (core, other):
            return _text_at(obj, core + dot + rest) or _text_at(obj, other + dot + rest)
    return _text_at(obj, path)


_READERS: Mapping[tuple[str, str, str], Callable[[Object, str], str]] = {
    ("", "Pod", "spec.hostNetwork"): _flag_at,
    # Accepted, but servers never fill it in.
    ("", "Pod", "status.podIPs"): lambda obj, path: "",
    ("", "Node", "spec.unschedulable"): _flag_at,
    ("", "ReplicationController", "status.replicas"): _count_at,
    ("batch", "Job", "status.successful"): lambda obj, path: _count_at(obj, "status.succeeded"),
}


class FieldTerm(NamedTuple):
    """One condition on one field."""

    field: str
    value: str
    equal: bool


def parse_field_selector(text: str) -> tuple[FieldTerm, ...]:
    """The conditions of a ``fieldSelector`` parameter, sorted.

    :raises StatusError: 400 for a text that is no selector.
    """
    terms = []
    for term in sorted(_split_terms(text)):
        found = re.search("!=|==|=", term)
        if found is None:
            raise _bad(f"invalid selector: '{text}'; can't understand '{term}'")
        field, value = term[: found.start()], _unescaped(term[found.end() :])
        terms.append(FieldTerm(field, value, found.group() != "!="))
    return tuple(terms)


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """Conditions that must all hold; a field that is not there is the empty text.

    :param readers: how the field of each term is read from an object.
    """

    terms: tuple[FieldTerm, ...] = ()
    readers: tuple[Callable[[Object, str], str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.terms)

    def selects(self, obj: Object) -> bool:
        """Whether an object is selected."""
        return all(
            (read(obj, term.field) == term.value) is term.equal
            for term, read in zip(self.terms, self.readers, strict=True)
        )

    def name(self) -> str | None:
        """The one name that can match, when the selector says it."""
        for term in self.terms:
            if term.field == "metadata.name" and term.equal:
                return term.value
        return None


def field_selector(text: str, resource: Resource, selectable: Sequence[str] | None = None) -> FieldSelector:
    """A ``fieldSelector`` parameter, for one kind.

    :param selectable: for a custom resource, the fields its version declares, such as ``spec.color``;
        ``None`` for a built-in kind.
    :raises StatusError: 400 for a text that is no selector, or a field this kind cannot be selected by.
    """
    kind = (resource.group, resource.kind)
    terms: list[FieldTerm] = []
    readers: list[Callable[[Object, str], str]] = []
    for term in parse_field_selector(text):
        field = _ALIASES.get(kind, {}).get(term.field, term.field)
        _check_field(field, resource, selectable)
        terms.append(term._replace(field=field))
        readers.append(_of_event if resource.kind == "Event" else _READERS.get((*kind, field), _text_at))
    return FieldSelector(tuple(terms), tuple(readers))


def _check_field(field: str, resource: Resource, selectable: Sequence[str] | None) -> None:
    if selectable is not None:
        known: Collection[str] = (*(_METADATA if resource.namespaced else _METADATA[:1]), *selectable)
    else:
        known = _FIELDS.get((resource.group, resource.kind), _METADATA)
    if field in known:
        return
    if (resource.group, resource.kind) == ("batch", "Job"):
        raise _bad(f"field label {shown(field)} not supported for Job")
    if selectable is None and known is _METADATA:
        raise _bad(
            f'{shown(field)} is not a known field selector: only "metadata.name", "metadata.namespace"'
        )
    raise _bad(f"field label not supported: {field}")


def _bad(message: str) -> StatusError:
    return StatusError(400, "BadRequest", message)


def _split_terms(text: str) -> list[str]:
    # A backslash takes the meaning from what follows it.
    return [part for part in re.findall(r"(?:\\.|[^,\\]|\\$)*", text, re.DOTALL) if part]


def _unescaped(text: str) -> str:
    def plain(found: re.Match[str]) -> str:
        escape = found.group()
        if escape in ("\\\\", "\\,", "\\="):
            return escape[1]
        if escape in (",", "="):
            # Servers show the character by its number.
            raise _bad(f"invalid field selector: unescaped character in value: {ord(escape)}")
        raise _bad(f"invalid field selector: invalid escape sequence: {escape}")

    return re.sub(r"\\.|\\$|[,=]", plain, text, flags=re.DOTALL)
