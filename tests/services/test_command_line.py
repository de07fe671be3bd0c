"""What `etl-service` says about its options, and what it refuses."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from etl_operator import __version__
from etl_operator.services.options import bind_address
from tests.hanging import HANGS
from tests.processes import GRPC, loopback
from tests.services.processes import PROGRAM, service, started

SOURCE = ("--router=127.0.0.1:1", "--source-id=s")


def said(*arguments: str) -> tuple[int, str]:
    """Exit code and output of a command that ends by itself."""
    if arguments[-1] not in ("--version", "--help") and "--bind" not in " ".join(arguments):
        # Other tests may be listening on the default.
        arguments = (*arguments, f"--bind={loopback()}:{GRPC}")
    done = subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, timeout=HANGS, check=False)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


def test_the_version_and_the_commands_are_told() -> None:
    assert said("--version") == (0, f"etl-service {__version__}\n")
    for group, commands in {
        "source": ("generate", "file"),
        "transform": ("filter", "map"),
        "sink": ("file", "sql"),
    }.items():
        code, text = said(group, "--help")
        assert code == 0
        assert all(command in text for command in commands)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("transform", "filter", "--where=a +"), 1, "--where: 'a +' does not compile"),
        (("transform", "filter", "--where=record.colour == ''"), 1, "undefined field 'colour'"),
        (("transform", "filter", "--where=payload.n + 1"), 1, "it must be a boolean (BOOL)"),
        (("transform", "filter"), 2, "Missing option '--where'"),
        (("transform", "map", "--set=color='red'"), 1, "FIELD must be payload, payload.NAME"),
        (("transform", "map", "--set=payload..x=1"), 1, "FIELD must be"),
        (("transform", "map", "--set=payload.x"), 1, "FIELD must be"),
        (("transform", "map", "--set=payload.x=1 +"), 1, "--set payload.x: '1 +' does not compile"),
        (("sink", "file", "/no/such/directory/x"), 1, "cannot open /no/such/directory/x: No such file"),
        (("sink", "file", "/dev/null"), 1, "/dev/null is not a regular file"),
        (("sink", "sql", "--url=nonsense"), 1, "--url is not a database URL"),
        (("sink", "sql", "--url=mysql://h/d"), 1, "only sqlite and postgresql"),
        (("sink", "sql", "--url=sqlite:////no/such/x.db"), 1, "unable to open database file"),
        (("sink", "sql", "--url=postgresql://u:secret@127.0.0.1:1/d"), 1, "u:***@127.0.0.1:1/d"),
        (("source", "file", "/no/such/file", *SOURCE), 1, "use --follow to wait for it"),
        (("source", "file", "/", *SOURCE), 2, "'/' is a directory"),
        (("source", "generate", "--source-id=s"), 2, "Missing option '--router'"),
        (("source", "generate", "--router=here", "--source-id=s"), 2, "'here' is not HOST:PORT"),
        (("source", "generate", *SOURCE, "--source-id="), 1, "the name of its EtlSource"),
        (("sink", "file", "x", "--bind=localhost:1"), 2, "not a literal IP:PORT"),
        (("sink", "file", "x", "--health-port=x"), 2, "--health-port"),
        (
            ("transform", "filter", "--where=true", "--tls-cert=x"),
            2,
            "--tls-cert and --tls-key must be set together",
        ),
        (("transform", "filter", "--where=true", "--tls-cert=/x", "--tls-key=/y"), 1, "/x: No such file"),
    ],
)
def test_what_is_wrong_is_said_and_where(arguments: tuple[str, ...], code: int, words: str) -> None:
    ended, text = said(*arguments)
    assert ended == code
    assert words in text
    assert "secret" not in text


@pytest.mark.parametrize("good", ["10.0.0.1:1", "[::1]:65535", "0.0.0.0:50051"])
def test_addresses_to_bind(good: str) -> None:
    host, port = bind_address(good)
    assert f"[{host}]:{port}" == good or f"{host}:{port}" == good


@pytest.mark.parametrize(
    "bad", ["", "1", ":1", "host:1", "::1:1", "[1.1.1.1]:1", "1.1.1.1:0", "1.1.1.1:65536", "1.1.1.1:-1"]
)
def test_no_addresses_to_bind(bad: str) -> None:
    with pytest.raises(ValueError, match="not a literal IP:PORT"):
        bind_address(bad)


@pytest.mark.parametrize("port", ["bind", "health-port", "metrics-port"])
async def test_a_port_in_use_is_named(tmp_path: Path, port: str) -> None:
    async with service(tmp_path, "transform", "filter", "--where=true") as first:
        ports = {"bind": 50099, "health-port": 8099, "metrics-port": 9099}
        taken = {"bind": 50051, "health-port": 8080, "metrics-port": 9090}[port]
        ports[port] = taken
        code, text = said(
            "transform",
            "filter",
            "--where=true",
            f"--bind={first.ip}:{ports['bind']}",
            f"--health-port={ports['health-port']}",
            f"--metrics-port={ports['metrics-port']}",
        )
        assert code == 1
        assert f"cannot listen on {first.ip}:{taken}" in text
        assert "Address already in use" in text or "address already in use" in text


async def test_options_have_variables_and_logs_are_json(tmp_path: Path) -> None:
    env = {
        "ETL_SERVICE_TRANSFORM_FILTER_WHERE": "true",
        "ETL_SERVICE_TRANSFORM_FILTER_LOG_FORMAT": "json",
    }
    async with service(tmp_path, "transform", "filter", env=env) as process:
        assert process.get("/healthz") == (200, '{"status":"ok"}')
        assert process.get("/readyz") == (200, '{"ready":true}')
        assert process.get("/nothing")[0] == 404
        assert await process.terminate() == 0
    lines = [json.loads(line) for line in process.logs().splitlines()]
    assert [line["message"] for line in lines] == ["transform started", "transform stopping"]
    assert lines[0]["bind"] == f"{process.ip}:50051"
    assert lines[0]["level"] == "info"


async def test_a_service_ends_at_once_on_sigterm_while_it_waits_for_a_router(tmp_path: Path) -> None:
    async with started(tmp_path, "source", "generate", *SOURCE) as process:
        await process.ready()
        assert await process.terminate() == 0
