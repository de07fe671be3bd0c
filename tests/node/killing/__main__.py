"""Play many runs: ``python -m tests.node.killing --runs 200``."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from tests.node.killing.scene import Figures, plan_of, play, scene
from tests.node.killing.traces import Violation

TOGETHER = 25
"""Runs that share their processes."""


async def played(seeds: range, directory: Path, workers: int, total: Figures) -> list[str]:
    """The runs of these seeds: what was violated. The first violation ends the processes; others go on."""
    say = partial(print, file=sys.stderr, flush=True)
    left, violations = list(seeds), []
    number = 0
    while left:
        number += 1
        async with scene(directory / f"from-{seeds.start}-{number}", workers) as made:
            while left:
                began, seed = time.monotonic(), left.pop(0)
                try:
                    figures = await play(made, plan_of(seed))
                except (Violation, AssertionError) as violation:
                    say(f"seed {seed} failed: {violation}")
                    violations.append(str(violation))
                    break
                total.add(figures)
                say(f"seed {seed}: {time.monotonic() - began:.1f} s, {figures}")
    return violations


def main() -> int:
    """Exit code 1 if a run broke a promise."""
    parser = argparse.ArgumentParser(prog="python -m tests.node.killing", description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--workers", type=int, default=1, help="data workers of each node")
    parser.add_argument("--directory", type=Path, help="where logs and data remain (default: they do not)")
    options = parser.parse_args()
    begun, total, violations = time.monotonic(), Figures(), []
    end = options.first + options.runs
    with tempfile.TemporaryDirectory(prefix="killing-") as temporary:
        for first in range(options.first, end, TOGETHER):
            seeds = range(first, min(first + TOGETHER, end))
            where = options.directory or Path(temporary)
            violations += asyncio.run(played(seeds, where, options.workers, total))
    took = time.monotonic() - begun
    print(f"{total}; {len(violations)} violations; {took:.0f} s")  # noqa: T201
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
