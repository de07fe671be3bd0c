"""docs/runtime.md lists every series the runtime has, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from informers.controller import Controller, Gate
from informers.objects import ObjectKey, Resource, Result
from informers.testing.simulation import Simulation, simulate

PAGE = Path(__file__).parents[2] / "docs" / "runtime.md"
CONFIG_MAP = Resource("", "v1", "configmaps", "ConfigMap")


class Idle:
    async def reconcile(self, _: ObjectKey) -> Result:
        return Result.done()


def documented() -> dict[str, tuple[str, str]]:
    """Type and help of every series of a manager that leads, by name."""
    found: dict[str, tuple[str, str]] = {}

    async def play(world: Simulation) -> None:
        manager = world.manager(elect=True, cache_limit=1 << 30)
        controller = Controller("idle", Idle(), gate=Gate())
        controller.watches(manager.informer(CONFIG_MAP))
        manager.add(controller)
        async with world.running(manager):
            await world.sleep(10)
            text = manager.metrics.render().decode()
        types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
        for name, meaning in re.findall(r"^# HELP (\S+) (.+)$", text, re.MULTILINE):
            # Angle brackets would vanish from the page.
            found[name] = (types[name], meaning.replace("<error>", "`<error>`"))

    simulate(play)
    return {name: row for name, row in found.items() if not name.endswith("_created")}


def test_the_page_lists_every_series() -> None:
    section = PAGE.read_text(encoding="utf-8").partition("\n## Metrics\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.+) \|$", section, re.MULTILINE)
    assert {name: (kind, meaning) for name, kind, meaning in rows} == documented()
