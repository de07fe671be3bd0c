"""Conditions of edges and routing rules, compiled to functions of a record. Pure.

``metadata_match.pattern`` runs on RE2, which takes time linear in the text, and ``expression`` is CEL over
one variable, ``record``, of type ``Record``: what a user writes cannot stop the node.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

from google.protobuf.descriptor_pool import Default

from etl_operator.router.pb import common_pb2, router_pb2

Predicate = Callable[[common_pb2.Record], bool]

_DEEPEST = 100
"""Levels of and, or and not."""
_LONGEST = 16_384
"""Characters of a pattern or an expression."""
_MAX_MEMORY = 1 << 23
"""Bytes that one compiled pattern may take."""
_CACHED = 1024


class PlanError(ValueError):
    """A pipeline that cannot run.

    :param field: path inside the ``PipelineConfig``, ``edges[2].to_stage`` for instance.
    :param problem: what is wrong with its value.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class ConditionError(Exception):
    """A condition that compiled has no value for a record, for example because a key it reads is absent."""


def compiled(condition: router_pb2.Condition, field: str, depth: int = 0) -> Predicate:
    """The condition as a function.

    :param field: where it stands, for errors.
    :raises PlanError: it is none, or part of it does not compile.

    The function raises `ConditionError`.
    """
    if depth > _DEEPEST:
        raise PlanError(field, f"conditions are nested more than {_DEEPEST} levels deep")
    kind = condition.WhichOneof("condition")
    match kind:
        case "always":
            return _always
        case "record_type":
            wanted = condition.record_type
            return lambda record: record.record_type == wanted
        case "metadata_match":
            return _metadata_match(condition.metadata_match, f"{field}.metadata_match")
        case "expression":
            return _expression(condition.expression, f"{field}.expression")
        case "and" | "or":
            parts = _parts(getattr(condition, kind).conditions, f"{field}.{kind}.conditions", depth)
            # An empty list: `and` holds, `or` does not.
            test = all if kind == "and" else any
            return lambda record: test(part(record) for part in parts)
        case "not":
            inner = compiled(getattr(condition, "not").condition, f"{field}.not.condition", depth + 1)
            return lambda record: not inner(record)
    raise PlanError(field, "is empty; set one of its fields, or remove the condition")


def _always(record: common_pb2.Record) -> bool:
    return True


def _parts(conditions: Any, field: str, depth: int) -> tuple[Predicate, ...]:
    return tuple(compiled(each, f"{field}[{i}]", depth + 1) for i, each in enumerate(conditions))


def _metadata_match(match: router_pb2.MetadataMatch, field: str) -> Predicate:
    if not match.key:
        raise PlanError(f"{field}.key", "is required")
    key, search = match.key, _pattern(match.pattern, f"{field}.pattern")

    def holds(record: common_pb2.Record) -> bool:
        value = record.metadata.get(key)
        return value is not None and search(value) is not None

    return holds


def _pattern(pattern: str, field: str) -> Callable[[str], Any]:
    _bounded(pattern, field)
    try:
        return _searcher(pattern)
    except ImportError as error:
        raise PlanError(field, f"needs the package google-re2 on the node: {error}") from error
    except ValueError as error:
        raise PlanError(field, f"is not a valid RE2 regular expression: {error}") from error


@lru_cache(maxsize=_CACHED)
def _searcher(pattern: str) -> Callable[[str], Any]:
    # Imported here: most pipelines have no pattern.
    import re2

    options = re2.Options()
    options.max_mem = _MAX_MEMORY
    options.log_errors = False
    try:
        made: Callable[[str], Any] = re2.compile(pattern, options).search
    except re2.error as error:
        said = error.args[0]
        raise ValueError(said.decode() if isinstance(said, bytes) else str(said)) from None
    return made


def _expression(expression: str, field: str) -> Predicate:
    _bounded(expression, field)
    try:
        program = _program(expression)
    except ImportError as error:
        raise PlanError(field, f"needs the package cel-expr-python on the node: {error}") from error
    except ValueError as error:
        raise PlanError(field, str(error)) from error

    def holds(record: common_pb2.Record) -> bool:
        try:
            result = program.eval(data={"record": record})
        except RuntimeError as error:
            raise ConditionError(f"{field}: {str(error).splitlines()[0]}") from None
        if result.type().name() == "ERROR":
            raise ConditionError(f"{field}: {str(result.value()).splitlines()[0]}")
        value = result.value()
        if not isinstance(value, bool):
            raise ConditionError(f"{field}: must evaluate to true or false, and does not for this record")
        return value

    return holds


@lru_cache(maxsize=_CACHED)
def _program(expression: str) -> Any:
    try:
        program = _environment().compile(expression)
    except RuntimeError as error:
        text = str(error).removeprefix("INVALID_ARGUMENT: ").removesuffix("[INVALID_ARGUMENT]").strip()
        raise ValueError(f"does not compile as CEL: {text}") from None
    if program.return_type().name() not in ("BOOL", "DYN"):
        raise ValueError("must evaluate to true or false (BOOL)")
    return program


@cache
def _environment() -> Any:
    # Imported here: most pipelines have no expression.
    from cel_expr_python import cel
    from cel_expr_python.ext import ext_strings

    return cel.NewEnv(
        descriptor_pool=Default(),
        variables={"record": cel.Type(common_pb2.Record.DESCRIPTOR.full_name)},
        extensions=[ext_strings.ExtStrings()],
    )


def _bounded(text: str, field: str) -> None:
    if not text:
        raise PlanError(field, "is required")
    if len(text) > _LONGEST:
        raise PlanError(field, f"has {len(text)} characters; the maximum is {_LONGEST}")
