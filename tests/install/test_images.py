"""The Dockerfile, as far as it can be judged without a Docker daemon."""

from __future__ import annotations

import re
import tomllib

from etl_operator.node.consensus.etcd.client import version_problem
from tests.install.manifests import ROOT

LINES = [
    line for line in (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines() if line and line[0] != "#"
]
IMAGES = ("operator", "router", "service")
STAGES = [match[1] for line in LINES if (match := re.fullmatch(r"FROM \S+ AS (\S+)", line))]


def stage(name: str) -> list[str]:
    """The instructions of a stage."""
    start = next(i for i, line in enumerate(LINES) if line.endswith(f" AS {name}"))
    end = next((i for i in range(start + 1, len(LINES)) if LINES[i].startswith("FROM ")), len(LINES))
    return LINES[start:end]


def test_the_operator_is_what_a_plain_build_gives() -> None:
    assert STAGES[-1] == "operator"
    assert {"router", "service"} <= set(STAGES)


def test_all_images_run_a_program_of_this_project_as_nobody() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    for name in IMAGES:
        program = f"etl-{name}"
        assert f'ENTRYPOINT ["{program}"]' in stage(name)
        assert program in scripts
        assert stage(name)[0] == f"FROM base AS {name}"
    assert "USER 65532:65532" in stage("base")


def test_only_the_environment_leaves_the_build_stage() -> None:
    for name in IMAGES:
        taken = [line for line in stage(name) if line.startswith("COPY ")]
        assert taken[0].endswith(" /opt/venv /opt/venv")
        assert taken[1:] == (["COPY --from=etcd /etcd /usr/local/bin/etcd"] if name == "router" else [])


def test_etcd_is_built_from_the_locked_modules_that_the_tests_use() -> None:
    text = "\n".join(stage("etcd"))
    assert copied("etcd") == {"e2e/controlplane/go.mod", "e2e/controlplane/go.sum"}
    assert "-mod=readonly" in text
    assert "CGO_ENABLED=0" in text  # The router's image may have another libc.
    modules = (ROOT / "e2e/controlplane/go.mod").read_text(encoding="utf-8")
    found = re.search(r"go\.etcd\.io/etcd/server/v3 v([\d.]+)\n", modules)
    assert found
    assert version_problem(found[1]) == ""


def copied(name: str) -> set[str]:
    """What a stage takes from the sources."""
    return {
        word
        for line in stage(name)
        if line.startswith("COPY ") and "--from=" not in line
        for word in line.split()[1:-1]
    }


def test_everything_the_build_copies_exists_and_is_sent() -> None:
    allowed = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    }
    wanted = {word for name in STAGES for word in copied(name)}
    assert wanted == allowed
    assert all((ROOT / name).exists() for name in wanted)


def test_every_download_is_locked() -> None:
    text = "\n".join(LINES).replace("\\\n", " ")
    commands = re.findall(r"(?:pip (?:--python \S+ )?)(?:install|wheel) [^&\n]*", text)
    assert len(commands) >= 4
    for command in commands:
        assert "--require-hashes" in command or "--no-index" in command or command.rstrip().endswith(" ."), (
            command
        )
        assert "--no-build-isolation" in command or " wheel " not in command, command


def test_a_change_of_the_sources_installs_no_dependency_anew() -> None:
    for name in IMAGES:
        lines = stage(f"build-{name}")
        install = next(i for i, line in enumerate(lines) if f"-r {name}.txt" in line)
        sources = next(i for i, line in enumerate(lines) if line.startswith("COPY --from=wheel"))
        assert install < sources
        assert copied(f"build-{name}") == {f".ci/requirements/{name}.txt"}


def test_the_package_is_built_once() -> None:
    assert sum("--wheel-dir /wheel ." in line for line in LINES) == 1


def test_nothing_is_compiled_at_the_start_of_a_container() -> None:
    for name in (*(f"build-{image}" for image in IMAGES), "base"):
        assert any("compileall" in line for line in stage(name)), name
    # The default marks bytecode with the time of its source: two builds would differ.
    text = "\n".join(LINES).replace("\\\n", " ")
    for command in re.findall(r"compileall [^\n]*", text):
        assert "--invalidation-mode unchecked-hash" in command


def test_labels_say_what_an_image_is() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    for name in IMAGES:
        text = "\n".join(stage(name))
        for label in ("description", "licenses=Apache-2.0", "revision=$REVISION", f"title=etl-{name}"):
            assert f"org.opencontainers.image.{label}" in text
        assert f"org.opencontainers.image.version={version}" in text
