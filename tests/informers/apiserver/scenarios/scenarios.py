"""What is asked of a real server and of the embedded one, to compare their answers.

A scenario is a list of steps on one object. ``record.py`` plays them on a real server and writes its
answers down; ``test_real_answers.py`` plays them on the embedded one.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.informers.apiserver.scenarios import (
    asked_of_builtins,
    asked_of_definitions,
    asked_of_passive,
    asked_of_widgets,
)
from tests.informers.apiserver.scenarios.steps import Step


def scenarios() -> Iterator[tuple[str, list[Step]]]:
    """Every scenario by name."""
    yield from asked_of_definitions.scenarios()
    yield from asked_of_widgets.scenarios()
    yield from asked_of_builtins.scenarios()
    yield from asked_of_passive.scenarios()
