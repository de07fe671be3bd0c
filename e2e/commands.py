"""The real kubectl, with what a test expects of it."""

from __future__ import annotations

import shutil
import time

import pytest

from e2e.running import Sandbox, kubectl
from tests.hanging import HANGS

NEEDS_KUBECTL = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on PATH")


def run(sandbox: Sandbox, *arguments: str, stdin: str | None = None) -> str:
    """The output of a command that has to succeed."""
    done = kubectl(sandbox, *arguments, stdin=stdin)
    assert done.returncode == 0, f"kubectl {' '.join(arguments)}:\n{done.stdout}{done.stderr}"
    return done.stdout


def refused(sandbox: Sandbox, *arguments: str, stdin: str | None = None) -> str:
    """What a command says that has to fail."""
    done = kubectl(sandbox, *arguments, stdin=stdin)
    assert done.returncode != 0, f"kubectl {' '.join(arguments)}:\n{done.stdout}"
    return done.stderr


def shows(sandbox: Sandbox, text: str, *arguments: str) -> None:
    """Wait until a command prints ``text``: events are written after what they tell of."""
    deadline = time.monotonic() + HANGS
    while text not in (output := run(sandbox, *arguments)):
        assert time.monotonic() < deadline, output
