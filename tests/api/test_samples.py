"""The samples of the README and of config/samples are the same, complete, and accepted as they stand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from controllers.references.services import service_references
from etl_operator.api import CLUSTER, PIPELINE
from etl_operator.api.crds import KINDS
from etl_operator.api.validation import validate
from etl_operator.sandbox.manifests import load_manifests
from tests.api.server import admitted

ROOT = Path(__file__).resolve().parents[2]
RESOURCES = {kind.resource.kind: kind.resource for kind in KINDS}


def readme_samples() -> list[dict[str, Any]]:
    """The custom resources shown in the README."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    return [block for block in blocks if "apiVersion" in block]


README, SAMPLES = readme_samples(), load_manifests(ROOT / "config" / "samples")


def test_the_readme_shows_a_cluster_a_pipeline_and_a_service() -> None:
    assert [sample["kind"] for sample in README] == ["EtlRouterCluster", "EtlPipeline", "EtlSource"]


@pytest.mark.parametrize("sample", [*README, *SAMPLES], ids=lambda sample: sample["kind"])
def test_a_sample_is_accepted_and_kept_whole(sample: dict[str, Any]) -> None:
    resource = RESOURCES[sample["kind"]]
    assert validate(sample) == []
    stored, causes = admitted(resource, sample)
    assert causes == []
    assert contains(stored, sample)


@pytest.mark.parametrize("sample", README, ids=lambda sample: sample["kind"])
def test_the_readmes_samples_are_in_the_samples(sample: dict[str, Any]) -> None:
    assert sample in SAMPLES


def test_the_samples_work_together() -> None:
    (pipeline,) = (sample for sample in SAMPLES if sample["kind"] == PIPELINE.kind)
    there = {(sample["kind"], sample["metadata"]["name"]) for sample in SAMPLES}
    needed = {(resource.kind, name) for resource, name in service_references(pipeline["spec"])}
    assert needed <= there
    assert [sample["kind"] for sample in SAMPLES].count(CLUSTER.kind) == 1
    assert {sample["kind"] for sample in SAMPLES} == set(RESOURCES)


def contains(stored: Any, written: Any) -> bool:
    """Whether everything that was written is stored; defaults may have come to it."""
    if isinstance(written, dict):
        return all(key in stored and contains(stored[key], value) for key, value in written.items())
    return bool(stored == written)
