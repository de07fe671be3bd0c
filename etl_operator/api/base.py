"""What all models share: how they read JSON, and rules that are both CEL and Python.

The models accept and reject what the API server does with the CustomResourceDefinitions made of them: types
are not converted, unknown fields are ignored (the server prunes them), ``null`` counts as absent, 3.0 is 3.

Objects are read far more often than they are odd, so validators in Python are few: what a model accepts at
once needs no more, and only what it does not is read a second time as the server would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
)
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, core_schema, from_json

from etl_operator.api.schema import as_stored, inlined

RULES = "x-kubernetes-validations"


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule about one value, in CEL and in Python.

    :param cel: for the API server; true when the value is good.
    :param message: one sentence for people, without the field's name in front.
    :param holds: the same in Python, given the validated value.
    """

    cel: str
    message: str
    holds: Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class TransitionRule:
    """A rule about a change; the server asks it on updates only.

    :param holds: given the new and the old value.
    """

    cel: str
    message: str
    holds: Callable[[Any, Any], bool]


class Model(BaseModel):
    """Base of all models: immutable, strict, camelCase in JSON and snake_case in Python.

    A field that may be ``None`` has no other default, so that a null says the same as no entry.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="ignore",
        frozen=True,
        strict=True,
        use_attribute_docstrings=True,
        validate_by_alias=True,
        validate_by_name=False,
    )

    rules: ClassVar[tuple[Rule, ...]] = ()
    transitions: ClassVar[tuple[TransitionRule, ...]] = ()

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """Read decoded JSON.

        :raises ValidationError: when it does not fit.
        """
        read: Self
        try:
            read = cls.__pydantic_validator__.validate_python(obj, **options)
        except ValidationError:
            stored = as_stored(obj, inlined(cls))
        else:
            return read
        read = cls.__pydantic_validator__.validate_python(stored, **options)
        return read

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **options: Any) -> Self:
        """Read JSON, without decoding it to dictionaries first.

        :raises ValidationError: when it does not fit, or is no JSON.
        """
        read: Self
        try:
            # Handing on what is not there would cost a tenth of the time.
            read = (
                cls.__pydantic_validator__.validate_json(json_data, **options)
                if options
                else cls.__pydantic_validator__.validate_json(json_data)
            )
        except ValidationError as error:
            if any(one["type"] == "json_invalid" for one in error.errors()):
                raise
        else:
            return read
        return cls.model_validate(from_json(json_data), **options)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = handler(source)
        if not cls.rules:
            return schema
        check = checker(cls.rules)
        if schema["type"] == "function-after" and schema["function"]["function"] is check:
            # A part of another model comes with its rules already.
            return schema
        return core_schema.no_info_after_validator_function(check, schema)

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler(core)
        told: list[Rule | TransitionRule] = [*cls.rules, *cls.transitions]
        if told:
            handler.resolve_ref_schema(schema)[RULES] = spoken(told)
        return schema


_M = TypeVar("_M", bound=Model)


def section(model: type[_M]) -> Any:
    """A field that is there even when the user leaves it out, with the defaults of its own fields.

    The schema spells them out: the server holds a default against the rules before it fills anything in.
    """
    default = model().model_dump(mode="json", by_alias=True, exclude_none=True)
    return Field(default_factory=model, json_schema_extra={"default": default})


@dataclass(frozen=True, slots=True)
class Checked:
    """Annotation that attaches rules to a field that is no model."""

    rules: tuple[Rule, ...]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(checker(self.rules), handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(core), RULES: spoken(self.rules)}


@dataclass(frozen=True, slots=True)
class ListType:
    """Annotation of a list whose items have an identity: server-side apply merges it item by item.

    :param key: the field that identifies an item; "" when an item is its own identity.
    """

    key: str = ""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = {**handler(core), "x-kubernetes-list-type": "map" if self.key else "set"}
        return schema | ({"x-kubernetes-list-map-keys": [self.key]} if self.key else {})

    def _checked(self, value: list[Any]) -> list[Any]:
        seen: set[Any] = set()
        for item in value:
            identity = getattr(item, self.key) if self.key else item
            if identity in seen:
                raise ValueError(f"duplicate value {identity!r}")
            seen.add(identity)
        return value


@cache
def checker(rules: tuple[Rule, ...]) -> Callable[[Any], Any]:
    """A validator: returns the value, or raises :class:`ValueError` with the messages of all broken rules."""

    def check(value: Any) -> Any:
        for rule in rules:
            if not rule.holds(value):
                raise ValueError("; ".join(rule.message for rule in rules if not rule.holds(value)))
        return value

    return check


def spoken(rules: Iterable[Rule | TransitionRule]) -> list[dict[str, str]]:
    """Rules as ``x-kubernetes-validations``."""
    return [{"rule": rule.cel, "message": rule.message} for rule in rules]
