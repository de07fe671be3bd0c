"""What holds for every test."""

from __future__ import annotations

from tests.hanging import without_deadlines

without_deadlines()
