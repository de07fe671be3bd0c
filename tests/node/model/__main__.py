"""Play many histories: ``python -m tests.node.model --histories 10000``."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import count
from typing import Any

from etl_operator.node.consensus import wire
from tests.node.model import history
from tests.node.model.properties import Violation

CHUNK = 50


def play(chunk: range) -> tuple[Counter[str], list[str]]:
    """The histories of these seeds: what happened in them, and what was violated."""
    happened: Counter[str] = Counter()
    violations: list[str] = []
    for seed in chunk:
        try:
            played = history.run(seed)
        except Violation as violation:
            violations.append(str(violation))
            continue
        happened.update(played.properties.counts)
        happened["acknowledged writes"] += len(played.properties.acknowledged)
        happened["events"] += played.events
    return happened, violations


def trace() -> None:
    """Print every message as it is sent."""
    send: Any = history.Node.send

    def printing(node: history.Node, peer: int, message: wire.Message) -> bool:
        print(f"{node.history.now:9.4f} {node.number} to {peer}: {message}")  # noqa: T201
        return bool(send(node, peer, message))

    history.Node.send = printing  # type: ignore[method-assign,assignment]


def main() -> int:
    """Exit code 1 if a history broke a promise."""
    parser = argparse.ArgumentParser(prog="python -m tests.node.model", description=__doc__)
    parser.add_argument("--histories", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--trace", action="store_true", help="print every message; in one process")
    options = parser.parse_args()
    begun = time.monotonic()
    end = options.first + options.histories
    chunks = [range(first, min(first + CHUNK, end)) for first in range(options.first, end, CHUNK)]
    happened: Counter[str] = Counter()
    violations: list[str] = []
    if options.trace:
        trace()
    with ProcessPoolExecutor(options.jobs) as pool:
        results = map(play, chunks) if options.trace else pool.map(play, chunks)
        say = partial(print, file=sys.stderr, flush=True)
        for number, (counted, found) in zip(count(1), results, strict=False):
            happened += counted
            violations += found
            for violation in found:
                say(violation)
            if number % 20 == 0:
                say(f"{min(number * CHUNK, options.histories)} of {options.histories} histories")
    took = time.monotonic() - begun
    what = ", ".join(f"{number} {name}" for name, number in sorted(happened.items()))
    print(f"{options.histories} histories in {took:.0f} s, {len(violations)} violations; {what}")  # noqa: T201
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
