"""CEL expressions over records; the only module here that imports the CEL library.

The variables of an expression are ``record``, the message ``etl.common.Record``, and ``payload``, the payload
decoded as JSON. It is decoded only for expressions that use it.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf.message import Message

from etl_operator.router.pb.common_pb2 import DESCRIPTOR, Record
from etl_operator.services.errors import StartError
from etl_operator.services.records import decode


class ExpressionError(ValueError):
    """An expression that cannot be compiled, or that has no value for a record."""


class Expression:
    """A compiled expression.

    :param text: CEL.
    :param boolean: the result must be a boolean.
    :raises ExpressionError: the text is not valid CEL, uses an unknown name, or has a result of another type.
    :raises StartError: the CEL library is not installed.
    """

    def __init__(self, text: str, *, boolean: bool = False) -> None:
        self.text = text
        self.reads_payload = False
        try:
            self._program = _environment(payload=False).compile(text)
        except RuntimeError:
            self.reads_payload = True
            self._program = self._with_payload(text)
        kind = self._program.return_type().name()
        if boolean and kind not in ("BOOL", "DYN"):
            raise ExpressionError(f"{text!r} has the type {kind}, it must be a boolean (BOOL)")
        self._boolean = boolean

    @staticmethod
    def _with_payload(text: str) -> Any:
        try:
            return _environment(payload=True).compile(text)
        except RuntimeError as error:
            words = str(error).removeprefix("INVALID_ARGUMENT: ").removesuffix("[INVALID_ARGUMENT]").strip()
            raise ExpressionError(f"{text!r} does not compile: {words}") from None

    def value(self, record: Record) -> Any:
        """The value of the expression for a record, as a plain Python value.

        :raises ExpressionError: it has no value, for example because a key does not exist, or a value of
            another type than BOOL.
        :raises PayloadError: it uses the payload, which is not JSON.
        """
        data: dict[str, Any] = {"record": record}
        if self.reads_payload:
            data["payload"] = decode(record)
        try:
            result = self._program.eval(data=data)
        except RuntimeError as error:
            raise ExpressionError(f"{self.text!r}: {_plain(str(error))}") from None
        kind = result.type().name()
        if kind == "ERROR":
            raise ExpressionError(f"{self.text!r}: {_plain(str(result.value()))}")
        value = result.value() if isinstance(result.value(), Message) else result.plain_value()
        if self._boolean and not isinstance(value, bool):
            raise ExpressionError(f"{self.text!r} has a value of type {kind}, it must be a boolean (BOOL)")
        return value


def _plain(text: str) -> str:
    """The first line of an error message of the library, without its code."""
    first = text.splitlines()[0] if text else "no value"
    code, _, words = first.partition(": ")
    return words if words and code.replace("_", "").isupper() else first


@cache
def _environment(*, payload: bool) -> Any:
    # Imported here: most services have no expressions, and the library is large.
    try:
        from cel_expr_python import cel
        from cel_expr_python.ext import ext_bindings, ext_math, ext_optional, ext_strings
    except ImportError:
        raise StartError(
            "CEL expressions need the package cel-expr-python; "
            "run pip install '.[services]' in a clone of etl-operator"
        ) from None
    variables = {"record": cel.Type(Record.DESCRIPTOR.full_name)}
    if payload:
        variables["payload"] = cel.Type.DYN
    return cel.NewEnv(
        descriptor_pool=DESCRIPTOR.pool,
        variables=variables,
        extensions=[
            ext_strings.ExtStrings(),
            ext_optional.ExtOptional(),
            ext_math.ExtMath(),
            ext_bindings.ExtBindings(),
        ],
    )
