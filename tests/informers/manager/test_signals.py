"""Work that a signal ends, in processes of their own."""

from __future__ import annotations

import asyncio
import signal
import sys

import pytest

PROGRAM = """
import asyncio
from informers.signals import run_until_signal

async def work() -> None:
    print("up", flush=True)
    try:
        await asyncio.sleep({seconds})
        raise LookupError("a bug")
    except asyncio.CancelledError:
        print("grace", flush=True)
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            print("no grace", flush=True)
        raise

async def main() -> None:
    await run_until_signal(work())
    print("ended", flush=True)

asyncio.run(main())
"""


async def start(seconds: float) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    program = PROGRAM.format(seconds=seconds)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=pipe, stderr=pipe)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"up\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_cancels_and_another_one_again(number: signal.Signals) -> None:
    process = await start(3600)
    assert process.stdout is not None
    process.send_signal(number)
    assert await process.stdout.readline() == b"grace\n"
    process.send_signal(number)
    said, errors = await process.communicate()
    assert (said, process.returncode) == (b"no grace\nended\n", 0), errors


async def test_what_fails_by_itself_is_an_error() -> None:
    process = await start(0)
    said, errors = await process.communicate()
    assert (said, process.returncode) == (b"", 1)
    assert b"LookupError: a bug" in errors
