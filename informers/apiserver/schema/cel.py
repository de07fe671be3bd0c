"""``x-kubernetes-validations``, compiled and evaluated. No other module imports the CEL library."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from informers.apiserver.schema.declared import Declarations
from informers.apiserver.schema.node import Node
from informers.apiserver.schema.patterns import compiled

# fmt: off
_RESERVED = frozenset({
    "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if",
    "import", "let", "loop", "package", "namespace", "return", "var", "void", "while",
})
# fmt: on
_ESCAPES = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}


class CompileError(Exception):
    """A rule that cannot be compiled.

    :param part: ``rule`` or ``messageExpression``.
    """

    def __init__(self, part: str, expression: str, text: str) -> None:
        super().__init__(text)
        self.part = part
        self.expression = expression


class EvaluationError(Exception):
    """A rule that compiled but could not be evaluated on a value."""


class Rule:
    """One entry of ``x-kubernetes-validations``.

    :raises CompileError: the rule or its message expression is no CEL, or no rule.
    """

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self.text: str = str(raw.get("rule") or "").strip()
        self.message: str = str(raw.get("message") or "").strip()
        self.field_path: str = str(raw.get("fieldPath") or "")
        self.reason: str = str(raw.get("reason") or "FieldValueInvalid")
        if not self.text:
            raise CompileError("rule", "", "rule is not specified")
        if raw.get("optionalOldSelf"):
            raise CompileError("optionalOldSelf", self.text, "this server does not support optionalOldSelf")
        self.program = _compiled("rule", self.text)
        self.transition: bool = "oldSelf" in self.text
        expression = str(raw.get("messageExpression") or "")
        self.words = _compiled("messageExpression", expression) if expression else None
        # Renamed fields and typed values are needed by few rules; the others see plain values.
        self.typed: bool = "__" in self.text + expression

    def holds(self, value: Any, old: Any) -> bool:
        """Whether the rule holds for a value.

        :raises EvaluationError: no answer, for example because a field it reads is not there.
        """
        result = _evaluated(self.program, value, old)
        if not isinstance(result, bool):
            raise EvaluationError("the rule is not true or false")
        return result

    def failure(self, value: Any, old: Any) -> str:
        """The sentence for a value that breaks the rule."""
        if self.words is not None:
            try:
                words = _evaluated(self.words, value, old)
            except EvaluationError:
                words = None
            if isinstance(words, str) and words.strip() and "\n" not in words:
                return words.strip()
        return self.message or f"failed rule: {self.text}"


def rules(node: Node) -> tuple[Rule, ...]:
    """The rules of a node, compiled once."""
    if node.compiled_rules is None:
        node.compiled_rules = tuple(Rule(raw) for raw in node.rules)
    return node.compiled_rules


def check_types(raw: Mapping[str, Any], fragment: Mapping[str, Any]) -> None:
    """Whether a rule asks nothing of a value that its schema rules out.

    :param raw: the entry of ``x-kubernetes-validations``.
    :param fragment: the schema it stands in.
    :raises CompileError: a field that is not declared, or types that do not go together.
    """
    from cel_expr_python import cel

    kind, pool = Declarations(fragment, _spelled).variable(cel)
    environment = _new_environment(kind, pool)
    for part in ("rule", "messageExpression"):
        if raw.get(part):
            _compile(environment, part, str(raw[part]).strip())


@cache
def _environment() -> Any:
    from cel_expr_python import cel

    return _new_environment(cel.Type.DYN, None)


def _new_environment(kind: Any, pool: Any) -> Any:
    # Imported here: schemas without rules work without the library.
    from cel_expr_python import cel
    from cel_expr_python.ext import ext_bindings, ext_math, ext_optional, ext_strings

    return cel.NewEnv(
        descriptor_pool=pool,
        variables={"self": kind, "oldSelf": kind},
        extensions=[
            ext_strings.ExtStrings(),
            ext_optional.ExtOptional(),
            ext_math.ExtMath(),
            ext_bindings.ExtBindings(),
        ],
        functions=_functions(cel),
    )


def _functions(cel: Any) -> list[Any]:
    """The functions Kubernetes adds that the library does not have, as far as rules here use them."""

    def member(name: str, result: Any, parameters: list[Any], run: Callable[..., Any]) -> Any:
        overload = cel.Overload(
            f"kubernetes_{name}", return_type=result, parameters=parameters, is_member=True, impl=run
        )
        return cel.FunctionDecl(name, [overload])

    kind = cel.Type
    items = kind.List(kind.DYN)
    return [
        member("find", kind.STRING, [kind.STRING, kind.STRING], _find),
        member("isSorted", kind.BOOL, [items], lambda values: values == sorted(values)),
        member("sum", kind.DYN, [items], sum),
        member("min", kind.DYN, [items], min),
        member("max", kind.DYN, [items], max),
    ]


def _find(text: str, pattern: str) -> str:
    found = compiled(pattern).search(text)
    return str(found.group(0)) if found else ""


@cache
def _compiled(part: str, expression: str) -> Any:
    return _compile(_environment(), part, expression)


def _compile(environment: Any, part: str, expression: str) -> Any:
    try:
        program = environment.compile(expression)
    except RuntimeError as error:
        raise CompileError(part, expression, f"compilation failed: {_plain(str(error))}") from None
    wanted = ("BOOL", "DYN") if part == "rule" else ("STRING", "DYN")
    if program.return_type().name() not in wanted:
        words = "cel expression must evaluate to a bool"
        if part != "rule":
            words = "messageExpression must evaluate to a string"
        raise CompileError(part, expression, words)
    return program


def _plain(text: str) -> str:
    """The library's words without its own code around them."""
    text = text.removeprefix("INVALID_ARGUMENT: ").removesuffix("[INVALID_ARGUMENT]").strip()
    text = re.sub(r"(undefined field '[^']*') not found in struct '[^']*'", r"\1", text)
    first, *more = re.split(r"\n(?=ERROR: )", text)
    # What follows from an error is not another one.
    return "\n".join([first, *(one for one in more if "'*error*'" not in one)])


def _evaluated(program: Any, value: Any, old: Any) -> Any:
    try:
        result = program.eval(data={"self": value, "oldSelf": old})
    except RuntimeError as error:
        raise EvaluationError(str(error).splitlines()[0]) from None
    if result.type().name() == "ERROR":
        raise EvaluationError(_reason(str(result.value())))
    return result.value()


def _reason(text: str) -> str:
    missing = re.search(r'Key not found in map : "([^"]*)"', text)
    return f"no such key: {missing.group(1)}" if missing else text.splitlines()[0]


def exposed(value: Any, node: Node | None, *, renamed: bool) -> Any:
    """A value as rules see it: numbers are doubles.

    Times and durations stay texts, because the library takes no others inside dynamic values: a rule that
    uses one as a time fails to evaluate, which refuses the object instead of letting it through unchecked.

    :param renamed: also give fields the names CEL can spell, ``x-y`` as ``x__dash__y``.
    """
    if node is None or value is None:
        return value
    if isinstance(value, dict):
        return {
            _spelled(key) if renamed and key in node.properties else key: exposed(
                below, node.child(key), renamed=renamed
            )
            for key, below in value.items()
        }
    if isinstance(value, list):
        return [exposed(item, node.items, renamed=renamed) for item in value]
    if node.type == "number" and isinstance(value, int):
        return float(value)
    return value


def _spelled(name: str) -> str:
    if name in _RESERVED:
        return f"__{name}__"
    return re.sub(r"__|[.\-/]", lambda found: _ESCAPES[found.group(0)], name)
