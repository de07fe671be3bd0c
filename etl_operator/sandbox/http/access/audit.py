"""Who asked for what, and whether they may: one line of JSON for each decision.

What a set of roles really has to allow is read from here: the verbs, groups, resources and subresources a
user needed, and what was refused.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

from etl_operator.sandbox.http.access.identity import Identity
from etl_operator.sandbox.http.access.rbac import Attributes

log = logging.getLogger(__name__)


class Audit:
    """Appends to a file. A line is in the file before the request it is about is answered.

    Each has ``time`` (seconds since the epoch), ``user``, ``allowed``, and what of ``verb``, ``group``,
    ``resource``, ``subresource``, ``namespace``, ``name`` and ``path`` the request has.

    :param path: made when missing, readable by its owner only.
    :param now: seconds since the epoch.
    :raises OSError: when it cannot be written.
    """

    def __init__(self, path: Path, now: Callable[[], float]) -> None:
        self._now = now
        path.touch(mode=0o600)
        # By lines: whoever reads along sees whole ones.
        self._file: TextIO = path.open("a", encoding="utf-8", buffering=1)
        self._failed = False

    def __call__(self, user: Identity, wanted: Attributes, allowed: bool) -> None:
        """Record a decision. A disk that is full costs lines, never answers."""
        told = {name: value for name, value in asdict(wanted).items() if value}
        line = {"time": round(self._now(), 3), "user": user.name, "allowed": allowed, **told}
        try:
            self._file.write(json.dumps(line) + "\n")
        except OSError as error:
            if not self._failed:
                log.warning("cannot write to the audit log, decisions are missing in it: %s", error)
            self._failed = True

    def close(self) -> None:
        """Close the file."""
        try:
            self._file.close()
        except OSError as error:
            log.warning("cannot close the audit log, its last decisions are missing: %s", error)
