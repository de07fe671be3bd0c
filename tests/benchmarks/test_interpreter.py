"""The Python that is measured."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.peers import interpreter


@pytest.mark.parametrize(
    ("said", "chosen"),
    [
        (f"{sys.implementation.cache_tag} 0.000000001", True),
        (f"{sys.implementation.cache_tag} 1000", False),
        ("cpython-27 0.000000001", False),
        ("no such thing", False),
    ],
)
def test_another_build_is_taken_if_it_fits_and_is_faster(
    said: str, chosen: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / f"python{sys.version_info.major}.{sys.version_info.minor}"
    other.write_text(f"#!/bin/sh\necho '{said}'\n", encoding="utf-8")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(interpreter, "_known", {})
    command = interpreter.python_command(Path("/packages"), sys.executable)
    if chosen:
        assert command[-1] == str(other)
        assert command[1].startswith("PYTHONPATH=") and command[1].endswith(":/packages")
    else:
        assert command == (sys.executable,)
        assert interpreter.version_of(command) in sys.version
