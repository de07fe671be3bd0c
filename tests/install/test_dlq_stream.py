"""``etl-operator dlq --nats``: dead letters of a stream on a real NATS server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from click.testing import CliRunner
from nats.js.api import StreamConfig

from etl_operator.cli.main import main
from tests.install.test_dlq import letter
from tests.node.buffer.servers import needs_server, serving

pytestmark = needs_server

STREAM = "etl_c_dead-letters"


async def run(*arguments: str) -> tuple[int, str]:
    """A command; its exit code and output."""
    done = await asyncio.to_thread(CliRunner().invoke, main, ["dlq", *arguments])
    return done.exit_code, done.output


async def test_letters_are_read_and_stay_in_the_stream(tmp_path: Path) -> None:
    async with serving(tmp_path) as cluster:
        url = cluster.servers[0].url
        async with cluster.client() as client:
            js = client.jetstream()
            await js.add_stream(StreamConfig(name=STREAM, subjects=["etl_c.dead-letters.*"]))
            for number in (7, 8):
                await js.publish("etl_c.dead-letters.etl_flow", letter(number).SerializeToString())
            await js.publish("etl_c.dead-letters.etl_o", letter(9, pipeline="etl/o").SerializeToString())
        for _ in range(2):
            code, said = await run("list", "etl/flow", "--nats", url, "--stream", STREAM)
            assert code == 0
            assert "in/2/7" in said and "in/2/8" in said and "2 dead letters" in said
        code, said = await run("show", "etl/o", "--nats", url, "--stream", STREAM)
        assert code == 0 and '"sequence_number": 9' in said
        code, said = await run("list", "etl/o", "--nats", url, "--stream", "other")
        assert code == 1 and "there is no stream other" in said
        cluster.servers[0].kill()
        code, said = await run("list", "etl/o", "--nats", url, "--stream", STREAM)
        assert code == 1 and f"NATS at {url}" in said
        with_password = url.replace("://", "://someone:secret@")
        code, said = await run("list", "etl/o", "--nats", with_password, "--stream", STREAM)
        assert code == 1 and f"NATS at {url}" in said and "secret" not in said


@pytest.mark.parametrize("options", [[], ["--nats", "nats://a"], ["--stream", "s", "--file", "-"]])
async def test_a_file_or_a_stream_must_be_given(options: list[str]) -> None:
    code, said = await run("list", "etl/flow", *options)
    assert code == 2 and "Give either --file, or --nats and --stream" in said
