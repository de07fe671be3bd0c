"""The Dockerfile, as far as it can be judged without a Docker daemon."""

from __future__ import annotations

import re
import tomllib

from tests.install.manifests import ROOT

LINES = [
    line for line in (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines() if line and line[0] != "#"
]
STAGES = [match[1] for line in LINES if (match := re.fullmatch(r"FROM \S+ AS (\S+)", line))]


def stage(name: str) -> list[str]:
    """The instructions of a stage."""
    start = next(i for i, line in enumerate(LINES) if line.endswith(f" AS {name}"))
    end = next((i for i in range(start + 1, len(LINES)) if LINES[i].startswith("FROM ")), len(LINES))
    return LINES[start:end]


def test_the_operator_is_what_a_plain_build_gives() -> None:
    assert STAGES[-1] == "operator"
    assert "router" in STAGES


def test_both_images_run_a_program_of_this_project_as_nobody() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    for name, program in (("operator", "etl-operator"), ("router", "etl-router")):
        assert f'ENTRYPOINT ["{program}"]' in stage(name)
        assert program in scripts
        assert stage(name)[0] == f"FROM base AS {name}"
    assert "USER 65532:65532" in stage("base")


def test_only_the_environment_leaves_the_build_stage() -> None:
    for name in ("operator", "router"):
        copied = [line for line in stage(name) if line.startswith("COPY ")]
        assert len(copied) == 1
        assert copied[0].endswith(" /opt/venv /opt/venv")


def test_everything_the_build_copies_exists_and_is_sent() -> None:
    allowed = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    }
    copied = {word for line in stage("build") if line.startswith("COPY ") for word in line.split()[1:-1]}
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)
