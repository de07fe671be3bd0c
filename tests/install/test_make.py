"""What the Makefile, the git hooks and the editor settings say is there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests import parts
from tests.install.manifests import ROOT

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
INTERNAL = {"BIN", "INSTALL", "LOCK", "LOCKED", "PYTEST"}
"""Variables of the Makefile that are not for whoever calls it."""


def made(*arguments: str) -> str:
    """What ``make`` prints; with ``-n`` the commands that it would run."""
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def test_help_lists_every_target_and_every_variable() -> None:
    listed = re.findall(r"^  (\S+) +\S", made("help"), re.MULTILINE)
    (phony,) = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    used = set(re.findall(r"[$][(](?:if |or )?[$]?[(]?([A-Z]+)\b", MAKEFILE)) - {"MAKEFILE"}
    assert set(listed) == {*phony.split(), *used - INTERNAL}


def test_a_part_is_tested_without_the_checks_of_the_whole() -> None:
    assert "mypy" in made("-n", "test")
    commands = made("-n", "test", "PART=queue watch")
    assert "mypy" not in commands
    assert "tests.parts queue watch" in commands


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("queue", {"tests/informers/queue"}),
        ("informers_queue", {"tests/informers/queue"}),
        ("tests/informers/queue/", {"tests/informers/queue"}),
        ("informers.queue", {"tests/informers/queue"}),
        ("node", {"tests/node"}),
        ("e2e", {"e2e"}),
    ],
)
def test_a_part_is_found_by_its_name_or_a_part_of_it(name: str, expected: set[str]) -> None:
    assert {folder.as_posix() for folder in parts.chosen([name])} == expected


def test_a_name_can_stand_for_several_parts() -> None:
    folders = parts.chosen(["informers", "queue"])
    assert len(folders) == len(set(folders)) > 3
    assert all("informers" in folder.as_posix() for folder in folders)


def test_an_unknown_part_is_refused_with_the_names_there_are() -> None:
    command = [sys.executable, "-m", "tests.parts", "queu"]
    refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "'queu'" in refused.stderr
    assert set(parts.parts()) <= set(refused.stderr.split())


def test_coverage_is_added_up_by_room() -> None:
    def file(statements: int, covered: int) -> dict[str, dict[str, int]]:
        return {"summary": {"num_statements": statements, "covered_lines": covered}}

    rooms = parts.by_room(
        {
            "informers/queue/a.py": file(10, 10),
            "informers/queue/b.py": file(10, 5),
            "informers/leader.py": file(4, 1),
            "informers/__init__.py": file(0, 0),
            "controllers/__init__.py": file(0, 0),
        }
    )
    assert rooms == {"informers": (4, 1), "informers/queue": (20, 15)}
    rows = [line.split() for line in parts.table(rooms, [])]
    assert rows[1:] == [
        ["informers", "4", "25.0", "%"],
        ["informers/queue", "20", "75.0", "%"],
        ["total", "24", "66.7", "%"],
    ]
    rows = [line.split() for line in parts.table(rooms, [Path("tests/informers/queue")])]
    assert rows[1:] == [["informers/queue", "20", "75.0", "%"], ["total", "20", "75.0", "%"]]


def test_git_hooks_run_only_what_is_installed_here() -> None:
    file = ROOT / ".pre-commit-config.yaml"
    subprocess.run([sys.executable, "-m", "pre_commit", "validate-config", str(file)], check=True)
    for repository in yaml.safe_load(file.read_text(encoding="utf-8"))["repos"]:
        assert repository["repo"] == "local", "nothing is fetched"
        for hook in repository["hooks"]:
            assert hook["language"] == "system"
            assert hook["entry"].startswith((".venv/bin/", "make "))


def test_the_dev_container_installs_the_extensions_that_are_recommended() -> None:
    text = (ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8")
    container = json.loads(re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE))
    recommended = json.loads((ROOT / ".vscode" / "extensions.json").read_text(encoding="utf-8"))
    json.loads((ROOT / ".vscode" / "settings.json").read_text(encoding="utf-8"))
    assert container["customizations"]["vscode"]["extensions"] == recommended["recommendations"]
    assert f"{container['postCreateCommand'].split()[1]}:" in MAKEFILE
