"""docs/api.md says what the code says."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

import controllers.status.reasons
from controllers.applying.apply import ADOPT_ANNOTATION
from controllers.cluster.observer import PAUSED_ANNOTATION
from controllers.cluster.statefulset import RESTART_ANNOTATION
from controllers.finalizing.release import FORCE_ANNOTATION
from controllers.pipeline.graph import DLQ_PREFIX, OWNER_UID, SPEC_HASH
from etl_operator.api.crds import KINDS

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "api.md").read_text(encoding="utf-8")
WORDS = {value for name, value in vars(controllers.status.reasons).items() if name.isupper()}


def generator() -> ModuleType:
    """docs/generate.py, which is no package."""
    spec = importlib.util.spec_from_file_location("generate_docs", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_are_up_to_date() -> None:
    assert generator().renewed(PAGE) == PAGE, "run: python docs/generate.py"
    assert PAGE.count("<!-- fields ") == PAGE.count("<!-- end -->") == 3


@pytest.mark.parametrize("word", sorted(WORDS))
def test_every_condition_reason_and_event_is_explained(word: str) -> None:
    assert f"`{word}`" in PAGE


def test_no_reason_is_made_up() -> None:
    hand_written = PAGE[PAGE.index("## Conditions") : PAGE.index("## Annotations")]
    said = set(re.findall(r"`([A-Z][A-Za-z]+)`", hand_written))
    assert said - WORDS == set()


@pytest.mark.parametrize(
    "key",
    [
        ADOPT_ANNOTATION,
        PAUSED_ANNOTATION,
        RESTART_ANNOTATION,
        FORCE_ANNOTATION,
        DLQ_PREFIX,
        OWNER_UID,
        SPEC_HASH,
    ],
)
def test_every_key_people_meet_is_explained(key: str) -> None:
    assert f"`{key}" in PAGE


def test_every_kind_and_short_name_is_there() -> None:
    for kind in KINDS:
        assert kind.resource.kind in PAGE
        assert f"`{kind.short_name}`" in PAGE


def test_the_known_deviations_of_the_sandbox_are_up_to_date() -> None:
    page = (DOCS / "sandbox.md").read_text(encoding="utf-8")
    assert generator().with_deviations(page) == page, "run: python docs/generate.py"
    assert "<!-- deviations -->" in page
