"""Types of single fields: bounded texts, numbers, maps and lists."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import Field, PlainValidator, WithJsonSchema

from etl_operator.api.base import Checked, ListType, Rule
from informers.conditions import MAX_MESSAGE

QUANTITY_PATTERN = r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]+)?$"
_QUANTITY = re.compile(QUANTITY_PATTERN)
_QUANTITY_LENGTH = 32
_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_PORT = "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"


def _quantity(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 0:
            raise ValueError("a quantity must not be negative")
        return value
    if not isinstance(value, str):
        raise ValueError("a quantity is an integer or a string")
    if len(value) > _QUANTITY_LENGTH or not _QUANTITY.fullmatch(value):
        raise ValueError(f"{value!r} is not a quantity such as 10Gi or 500m")
    return value


Port = Annotated[int, Field(ge=1, le=65535)]
MOST = 2**53 - 1
"""The largest bound an API server can hold: it keeps bounds as floating-point numbers, and one that does not
fit its field's format afterwards makes it refuse every value."""

Counter = Annotated[int, Field(ge=0, le=MOST, json_schema_extra={"format": "int64"})]
"""A number that only grows, such as a log index."""

Quantity = Annotated[
    int | str,
    PlainValidator(_quantity),
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "pattern": QUANTITY_PATTERN,
            "maxLength": _QUANTITY_LENGTH,
            "minimum": 0,
        }
    ),
]
"""A Kubernetes quantity: a number with an optional suffix, such as ``10Gi``, ``500m`` or ``1``."""

ObjectName = Annotated[str, Field(max_length=253, pattern=rf"^{_LABEL}(\.{_LABEL})*$")]
"""The name of an object in the same namespace."""

Namespace = Annotated[str, Field(max_length=63, pattern=rf"^{_LABEL}$")]

NamespaceOrAll = Annotated[str, Field(max_length=63, pattern=rf"^(\*|{_LABEL})$")]

_ENDS_IN_PORT = ":[0-9]+$"
_ENDPOINT = rf"^([a-zA-Z0-9]([-a-zA-Z0-9._]*[a-zA-Z0-9])?|\[[0-9a-fA-F:.]+\]):{_PORT}$"


def _ends_in_port(endpoint: str) -> bool:
    return re.search(_ENDS_IN_PORT.replace("$", r"\Z"), endpoint) is not None


def _is_endpoint(endpoint: str) -> bool:
    return not _ends_in_port(endpoint) or re.search(_ENDPOINT.replace("$", r"\Z"), endpoint) is not None


Endpoint = Annotated[
    str,
    Field(max_length=261),
    # Rules rather than a pattern: of a pattern the server shows 190 characters, and no word of what is wrong.
    Checked(
        (
            Rule(
                f"self.matches('{_ENDS_IN_PORT}')",
                "the port is missing: write host:port, such as my-service:50051",
                _ends_in_port,
            ),
            Rule(
                f"!self.matches('{_ENDS_IN_PORT}') || self.matches(r'{_ENDPOINT}')",
                "must be host:port: a name, an IPv4 address or an IPv6 address in brackets, and 1 to 65535",
                _is_endpoint,
            ),
        )
    ),
]
"""``host:port``; an IPv6 address stands in brackets."""

NatsUrl = Annotated[
    str,
    Field(
        max_length=300,
        pattern=r"^(nats|tls)://([a-zA-Z0-9]([-a-zA-Z0-9.]*[a-zA-Z0-9])?|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?$",
    ),
]
"""``nats://host:port``; credentials have no place in it."""

Image = Annotated[str, Field(max_length=512, pattern=r"^[^ \t\r\n]+$")]

ShortText = Annotated[str, Field(max_length=253)]
Text = Annotated[str, Field(max_length=4096)]
LongText = Annotated[str, Field(max_length=MAX_MESSAGE)]

LabelValue = Annotated[str, Field(max_length=63, pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$")]

Labels = Annotated[dict[str, LabelValue], Field(max_length=64)]
Annotations = Annotated[dict[str, Text], Field(max_length=64)]
Quantities = Annotated[dict[str, Quantity], Field(max_length=16)]

Arguments = Annotated[list[Text], Field(max_length=128)]
Namespaces = Annotated[list[NamespaceOrAll], ListType(), Field(max_length=64)]

FreeForm = Annotated[
    dict[str, Any],
    Field(max_length=256, json_schema_extra={"x-kubernetes-preserve-unknown-fields": True}),
]
"""An object whose content is not the operator's business; nulls in it are kept."""

Timestamp = Annotated[
    str,
    Field(
        max_length=64,
        pattern=(
            "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[Tt]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
            r"(\.[0-9]+)?([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"
        ),
        json_schema_extra={"format": "date-time"},
    ),
]
"""RFC 3339."""
