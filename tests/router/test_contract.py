"""The generated code says exactly what the contract's tables say, and is what the sources generate."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, FileDescriptor

TABLES = Path(__file__).with_name("contract_tables.md")
GENERATE = Path(__file__).parents[2] / "protos" / "generate.py"

_SCALARS = {
    FieldDescriptor.TYPE_DOUBLE: "double",
    FieldDescriptor.TYPE_FLOAT: "float",
    FieldDescriptor.TYPE_UINT64: "uint64",
    FieldDescriptor.TYPE_UINT32: "uint32",
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BYTES: "bytes",
}


@dataclass
class File:
    """One file of the contract: each name to its row, as text."""

    package: str
    imports: list[str] = field(default_factory=list)
    services: dict[str, list[str]] = field(default_factory=dict)
    messages: dict[str, str] = field(default_factory=dict)
    enums: dict[str, str] = field(default_factory=dict)


def parse_tables(text: str) -> dict[str, File]:
    """File name without ``.proto`` to its tables."""
    files: dict[str, File] = {}
    current, table = File(""), ""
    for line in text.splitlines():
        if heading := re.fullmatch(r"## (\w+)\.proto: package ([\w.]+)", line):
            current = files[heading[1]] = File(heading[2])
        elif line.startswith("imports "):
            current.imports = line.removeprefix("imports ").split(", ")
        elif line.startswith("service "):
            current.services[line.removeprefix("service ")] = []
        elif found := re.match(r"\| (RPC|message|enum) \|", line):
            table = found[1]
        elif line.startswith("| "):
            name, _, rest = line.strip("| ").partition(" | ")
            if table == "RPC":
                list(current.services.values())[-1].append(f"{name} | {rest}")
            else:
                (current.messages if table == "message" else current.enums)[name] = rest
    return files


def describe(file: FileDescriptor) -> File:
    """A descriptor in the tables' words."""
    kinds = {(0, 0): "unary", (0, 1): "server-stream", (1, 0): "client-stream", (1, 1): "bidi"}
    services = {
        service.name: [
            f"{one.name} | {kinds[one.client_streaming, one.server_streaming]} | "
            f"{_type_name(file, one.input_type)} | {_type_name(file, one.output_type)}"
            for one in service.methods
        ]
        for service in file.services_by_name.values()
    }
    return File(
        package=file.package,
        imports=[one.name for one in file.dependencies],
        services=services,
        messages={one.name: _message(one) for one in file.message_types_by_name.values()},
        enums={one.name: _enum(one) for one in file.enum_types_by_name.values()},
    )


def _message(message: Descriptor) -> str:
    return "; ".join(_field(message.file, one) for one in message.fields) or "(no fields)"


def _enum(enum: EnumDescriptor) -> str:
    return "; ".join(f"{value.number} {value.name}" for value in enum.values)


def _field(file: FileDescriptor, one: FieldDescriptor) -> str:
    entry = one.message_type
    oneof = one.containing_oneof
    prefix = suffix = ""
    if entry is not None and entry.GetOptions().map_entry:
        key, value = entry.fields_by_name["key"], entry.fields_by_name["value"]
        kind = f"map<{_kind(file, key)},{_kind(file, value)}>"
    else:
        kind = _kind(file, one)
        prefix = "rep " if one.is_repeated else ""
    if oneof is not None and oneof.name.startswith("_"):
        prefix = "opt "
    elif oneof is not None:
        suffix = f" «{oneof.name}»"
    return f"{one.number} {one.name}: {prefix}{kind}{suffix}"


def _kind(file: FileDescriptor, one: FieldDescriptor) -> str:
    kind = one.message_type or one.enum_type
    return _SCALARS[one.type] if kind is None else _type_name(file, kind)


def _type_name(file: FileDescriptor, kind: Descriptor | EnumDescriptor) -> str:
    name: str = kind.full_name
    if name.startswith("google.protobuf."):
        return name.replace("google.protobuf.", "gp.")
    return name.removeprefix(f"{file.package}.")


CONTRACT = parse_tables(TABLES.read_text("utf-8"))


def test_the_tables_are_whole() -> None:
    names = {"router", "registry", "common", "checkpoint", "backup", "sidecar", "source", "transform"}
    assert CONTRACT.keys() == names | {"sink", "lookup", "raft"}
    assert sum(len(one.messages) + len(one.enums) + len(one.services) for one in CONTRACT.values()) == 201


@pytest.mark.parametrize("name", sorted(CONTRACT))
def test_generated_code_equals_the_contract(name: str) -> None:
    module = importlib.import_module(f"etl_operator.router.pb.{name}_pb2")
    made, wanted = describe(module.DESCRIPTOR), CONTRACT[name]
    assert made.package == wanted.package
    assert sorted(made.imports) == sorted(wanted.imports)
    assert made.services == wanted.services
    assert made.enums == wanted.enums
    assert made.messages == wanted.messages


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("2 name: string", "3 name: string"),
        ("1 STAGE_TYPE_SOURCE", "1 STAGE_TYPE_ORIGIN"),
        ("| Heartbeat | bidi |", "| Heartbeat | unary |"),
    ],
)
def test_the_comparison_sees_a_changed_row(before: str, after: str) -> None:
    changed = parse_tables(TABLES.read_text("utf-8").replace(before, after, 1))
    assert changed != CONTRACT


def test_generated_code_is_fresh() -> None:
    done = subprocess.run([sys.executable, str(GENERATE), "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
