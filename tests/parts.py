"""Run the tests of one part of the project: ``python -m tests.parts [--coverage] [PART ...]``.

A part is a folder of tests, and is named after the room it tests: ``informers/queue``. A part of the name is
enough (``queue``), and a name that fits several folders (``informers``) stands for all of them. Without a
name every test runs. ``WORKERS`` in the environment is how many tests run at once (default: 3).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
_SUITES = ("tests", "e2e")
_SEPARATOR = re.compile(r"[/_.]")


def parts() -> Mapping[str, Path]:
    """The folders that hold tests, by their names."""
    files = (file for suite in _SUITES for file in (ROOT / suite).rglob("test_*.py"))
    folders = sorted({file.parent.relative_to(ROOT) for file in files})
    return {folder.as_posix().removeprefix("tests/"): folder for folder in folders}


def chosen(names: Iterable[str]) -> list[Path]:
    """The folders that these names stand for, each once.

    :raises LookupError: no folder has such a name; the text lists the names there are.
    """
    found: dict[Path, None] = {}
    for name in names:
        known = parts()
        fitting = [known[name]] if name in known else [known[part] for part in known if _contains(part, name)]
        if not fitting:
            listed = "\n".join(f"  {part}" for part in parts())
            raise LookupError(f"no part of the tests is named {name!r}. The parts are:\n{listed}")
        found.update(dict.fromkeys(fitting))
    return list(found)


def _contains(whole: str, part: str) -> bool:
    """Whether the words of one name stand in the other one, side by side."""
    words, wanted = _SEPARATOR.split(whole), _SEPARATOR.split(part.strip("/").removeprefix("tests/"))
    return any(words[i : i + len(wanted)] == wanted for i in range(len(words)))


# -- coverage --------------------------------------------------------------------------------------


def by_room(files: Mapping[str, Mapping[str, Any]]) -> Mapping[str, tuple[int, int]]:
    """Statements and covered statements of each folder, from the files of coverage's JSON report."""
    rooms: dict[str, tuple[int, int]] = {}
    for name, file in sorted(files.items()):
        room = Path(name).parent.as_posix()
        statements, covered = rooms.get(room, (0, 0))
        summary = file["summary"]
        rooms[room] = statements + summary["num_statements"], covered + summary["covered_lines"]
    return {room: counts for room, counts in rooms.items() if counts[0]}


def table(rooms: Mapping[str, tuple[int, int]], folders: Sequence[Path]) -> Iterator[str]:
    """The lines to print: the rooms that these folders test, or all where the names do not say."""
    names = [folder.name for folder in folders]
    own = {room: counts for room, counts in rooms.items() if any(_contains(room, name) for name in names)}
    shown = own or rooms
    width = max(map(len, [*shown, "room"]))
    yield f"{'room':<{width}}  statements  covered"
    total = tuple(map(sum, zip(*shown.values(), strict=True))) if shown else (0, 0)
    for room, (statements, covered) in [*shown.items(), ("total", total)]:
        yield f"{room:<{width}}  {statements:>10}  {100 * covered / max(statements, 1):>5.1f} %"


def _report(folders: Sequence[Path]) -> None:
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "coverage.json"
        for command in (["combine", "--quiet"], ["json", "--quiet", "-o", str(file)]):
            subprocess.run([sys.executable, "-m", "coverage", *command], cwd=ROOT, check=True)
        files = json.loads(file.read_text(encoding="utf-8"))["files"]
    print("\n".join(table(by_room(files), folders)), flush=True)  # noqa: T201


def main() -> int:
    """Run the tests; returns pytest's exit code, or 2 when a name is unknown."""
    parser = argparse.ArgumentParser(prog="python -m tests.parts", description="Run the tests of a part.")
    parser.add_argument("--coverage", action="store_true", help="print how much of each room the tests run")
    parser.add_argument("part", nargs="*", help="name of a folder of tests, or a part of its name")
    arguments = parser.parse_args()
    try:
        folders = chosen(arguments.part)
    except LookupError as error:
        print(error.args[0], file=sys.stderr)  # noqa: T201
        return 2
    pytest = ["pytest", "-n", os.environ.get("WORKERS", "3"), "--dist", "loadfile", *map(str, folders)]
    if not arguments.coverage:
        return subprocess.call([sys.executable, "-m", *pytest], cwd=ROOT)
    subprocess.run([sys.executable, "-m", "coverage", "erase"], cwd=ROOT, check=True)
    code = subprocess.call([sys.executable, "-m", "coverage", "run", "-m", *pytest], cwd=ROOT)
    _report(folders)
    return code


if __name__ == "__main__":
    sys.exit(main())
