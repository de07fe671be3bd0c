"""The examples of docs/services.md run as they are written, and its tables are complete."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import click
import pytest

from etl_operator.services.main import main
from etl_operator.services.metrics import SourceMetrics
from tests.install.manifests import ROOT
from tests.processes import until
from tests.services.batches import process, record, write
from tests.services.processes import service, started
from tests.services.router import routers

TEXT = (ROOT / "docs" / "services.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
SUCCESS, FILTERED, ERROR = 1, 2, 3


def script(directory: Path, text: str) -> tuple[str, ...]:
    """The command that runs an example."""
    path = directory / "example.py"
    path.write_text(text)
    return (sys.executable, str(path))


def test_there_are_three_examples_and_the_transform_is_short() -> None:
    assert len(EXAMPLES) == 3
    assert len(EXAMPLES[0].splitlines()) <= 30


async def test_the_transform_does_what_it_says(tmp_path: Path) -> None:
    async with service(tmp_path, program=script(tmp_path, EXAMPLES[0])) as running:
        orders = [
            record(1, {"amount": 10, "currency": "USD"}),
            record(2, {"amount": -1, "currency": "EUR"}),
            record(3, {"amount": 1, "currency": "XYZ"}),
        ]
        answer = await running.transform.ProcessBatch(process(orders))
        assert [one.status for one in answer.results] == [SUCCESS, FILTERED, ERROR]
        made = json.loads(answer.results[0].output_records[0].payload)
        assert made == {"amount": 9.2, "currency": "EUR"}
        assert answer.results[2].error_message == "no rate for XYZ"
        assert await running.terminate() == 0


async def test_the_sink_does_what_it_says(tmp_path: Path) -> None:
    text = f"from etl_operator.services import Sink, decode, run\n\n\n{EXAMPLES[1]}\n\nrun(Prints)\n"
    async with service(tmp_path, program=script(tmp_path, text)) as running:
        assert (await running.sink.WriteBatch(write([record(1, {"a": 1})]))).status == SUCCESS
        assert "{'a': 1}" in running.logs()


async def test_the_source_does_what_it_says(tmp_path: Path) -> None:
    head = "import asyncio\n\nfrom etl_operator.services import Record, Source, encode, run\n\n\n"
    program = script(tmp_path, f"{head}{EXAMPLES[2]}\n\nrun(Ticks)\n")
    async with routers() as (node,):
        node.offsets = {0: 6}
        arguments = (f"--router={node.address}", "--source-id=ns/ticks")
        async with started(tmp_path, *arguments, program=program) as running:
            await until(lambda: len(node.records) >= 2, running.logs)
            assert await running.terminate() == 0
    assert [json.loads(payload) for payload in node.payloads[:2]] == [{"n": 7}, {"n": 8}]


def commands() -> dict[str, click.Command]:
    return {
        f"{group} {name}": command
        for group, commands in main.commands.items()
        if isinstance(commands, click.Group)
        for name, command in commands.commands.items()
    }


@pytest.mark.parametrize("name", commands())
def test_every_command_and_option_is_in_the_docs(name: str) -> None:
    assert f"`{name}" in TEXT
    for parameter in commands()[name].params:
        for option in parameter.opts:
            if option.startswith("--") and option != "--help":
                assert option in TEXT, f"{option} of {name}"


def test_the_commands_in_the_docs_are_commands() -> None:
    lines = re.findall(r"^etl-service (.*)$", TEXT, re.MULTILINE)
    assert len(lines) == len(commands())
    for line in lines:
        group, name, *arguments = shlex.split(line)
        commands()[f"{group} {name}"].make_context(name, arguments)


def test_every_metric_is_in_the_docs() -> None:
    for metric in SourceMetrics().registry.collect():
        if not metric.name.startswith("process_"):
            assert metric.name in TEXT, metric.name
