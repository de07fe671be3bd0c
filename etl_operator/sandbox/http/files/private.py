"""Files with secrets in them: never readable by others, never half written."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_private(path: Path, content: bytes) -> None:
    """Write ``content`` so that readers see the old file or the new one, mode 0600.

    :raises OSError: when the directory cannot be created or written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # mkstemp creates with mode 0600, so the secret is private from its first byte on.
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_or_create(path: Path | None, create: bytes) -> bytes:
    """The file's content; a missing file is written with ``create`` first. Without a path, ``create``."""
    if path is None:
        return create
    try:
        return path.read_bytes()
    except FileNotFoundError:
        write_private(path, create)
        return create
