"""Every line that is written during a reconcile says which one."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator

import pytest

from informers.controller import Controller, current
from informers.logs import configure_logging
from informers.objects import ObjectKey, Result
from informers.testing.clock import VirtualClock, run_virtual
from tests.hanging import HANGS

A = ObjectKey("default", "a")
log = logging.getLogger("controllers.test")


@pytest.fixture
def _root() -> Iterator[None]:
    """Logging as it was, afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in ("etl_operator", "controllers", "informers"):
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.mark.usefixtures("_root")
def test_lines_of_a_reconcile_carry_controller_key_causes_and_id(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("json", "info")

    class Talks:
        async def reconcile(self, _: ObjectKey) -> Result:
            log.info("within")
            log.info("of its own", extra={"key": "mine"})
            await asyncio.create_task(self.deeper())
            raise OSError("no")

        async def deeper(self) -> None:
            log.info("deeper")

    class Blocks:
        def reconcile(self, _: ObjectKey) -> Result:
            log.info("in a thread")
            return Result.done()

    async def main() -> None:
        one = Controller("talks", Talks(), clock=VirtualClock())
        running = asyncio.ensure_future(one.run())
        one.enqueue(A, cause="a test")
        await asyncio.sleep(0.001)
        running.cancel()
        log.info("outside")
        assert current() is None

    async def threaded() -> None:
        other = Controller("blocks", Blocks(), clock=None)
        running = asyncio.ensure_future(other.run())
        other.enqueue(A, cause="a test")
        async with asyncio.timeout(HANGS):
            while other.queue.statistics().processing or not other.queue.statistics().ready:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
        running.cancel()

    run_virtual(main())
    asyncio.run(threaded())
    lines = {line["message"]: line for line in map(json.loads, capsys.readouterr().err.splitlines())}
    identity = lines["within"]["reconcile"]
    assert identity.endswith("-1")
    for message in ("within", "deeper", "reconcile failed: OSError: no"):
        line = lines[message]
        assert line["controller"] == "talks"
        assert line["key"] == "default/a"
        assert (line["causes"], line["reconcile"]) == ("a test", identity)
    assert lines["of its own"]["key"] == "mine"
    assert "controller" not in lines["outside"]
    assert lines["in a thread"]["controller"] == "blocks"


@pytest.mark.usefixtures("_root")
def test_a_level_is_for_everybody_or_for_some(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("text", "info")
    log.info("heard", extra={"key": A})
    configure_logging("text", "debug", ["controllers"])
    log.debug("this too")
    other = logging.getLogger("another")
    other.info("not this")
    other.warning("but this")
    lines = [line.split(" ", 1)[1] for line in capsys.readouterr().err.splitlines()]
    assert lines == [
        "INFO    controllers.test  heard  key=default/a",
        "DEBUG   controllers.test  this too",
        "WARNING another  but this",
    ]
