"""Where a pipeline in a router differs from the one that is wanted, field by field. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from google.protobuf.message import Message

from etl_operator.router.pb import router_pb2 as pb

OURS = "etl.router/"
"""Prefix of the metadata that are the operator's alone."""


def differences(held: pb.PipelineConfig, wanted: pb.PipelineConfig) -> list[str]:
    """Paths of the fields that differ, such as ``stages[1].parallelism`` or ``metadata[team]``.

    The enabled flag is no difference: it is switched by calls of its own. Nor are metadata that were added
    under foreign names.
    """
    return list(_message(_comparable(held, wanted.metadata), _comparable(wanted, wanted.metadata), ""))


def form(config: pb.PipelineConfig) -> bytes:
    """What :func:`differences` looks at, as one value to be remembered."""
    return _comparable(config, config.metadata).SerializeToString(deterministic=True)


def shown(fields: Sequence[str]) -> str:
    """For people; a list of moderate length."""
    more = f" and {len(fields) - 5} more" if len(fields) > 5 else ""
    return ", ".join(fields[:5]) + more


def _comparable(config: pb.PipelineConfig, known: Mapping[str, str]) -> pb.PipelineConfig:
    found = pb.PipelineConfig()
    found.CopyFrom(config)
    found.ClearField("enabled")
    for key in list(found.metadata):
        if key not in known and not key.startswith(OURS):
            del found.metadata[key]
    return found


def _message(held: Message, wanted: Message, path: str) -> Iterator[str]:
    for field in wanted.DESCRIPTOR.fields:
        name = f"{path}.{field.name}" if path else field.name
        if field.has_presence and not (held.HasField(field.name) and wanted.HasField(field.name)):
            # Messages nest without end; one that is in neither is not looked into.
            if held.HasField(field.name) != wanted.HasField(field.name):
                yield name
            continue
        yield from _field(field, getattr(held, field.name), getattr(wanted, field.name), name)


def _field(field: Any, held: Any, wanted: Any, name: str) -> Iterator[str]:
    if isinstance(wanted, Mapping):
        yield from (f"{name}[{key}]" for key in sorted({*held, *wanted}) if held.get(key) != wanted.get(key))
    elif field.is_repeated:
        if len(held) != len(wanted):
            yield name
            return
        for position, (one, other) in enumerate(zip(held, wanted, strict=True)):
            yield from _value(one, other, f"{name}[{position}]")
    else:
        yield from _value(held, wanted, name)


def _value(held: Any, wanted: Any, name: str) -> Iterator[str]:
    if isinstance(wanted, Message):
        yield from _message(held, wanted, name)
    elif held != wanted:
        yield name
