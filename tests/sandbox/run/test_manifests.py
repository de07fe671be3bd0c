"""Reading manifests: files, directories, kustomizations, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from etl_operator.sandbox.manifests import ManifestError, built_in, load_manifests


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def obj(name: str, kind: str = "A") -> str:
    return f"apiVersion: v1\nkind: {kind}\nmetadata: {{name: {name}}}\n"


def test_files_directories_and_lists(tmp_path: Path) -> None:
    write(tmp_path / "b.yaml", f"{obj('b')}---\n---\n{obj('c')}")
    write(tmp_path / "a.json", '{"apiVersion": "v1", "kind": "A", "metadata": {"name": "a"}}')
    write(tmp_path / "ignored.txt", "not: read")
    listing = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: A, metadata: {name: d}}\n"
    write(tmp_path / "list.yml", listing)
    found = [one["metadata"]["name"] for one in load_manifests(tmp_path)]
    assert found == ["a", "b", "c", "d"]


def test_a_kustomization_that_lists_resources(tmp_path: Path) -> None:
    write(tmp_path / "base" / "kustomization.yaml", "resources: [one.yaml]\n")
    write(tmp_path / "base" / "one.yaml", obj("one"))
    top = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [../base, two.yaml]\n"
    write(tmp_path / "top" / "kustomization.yaml", top)
    write(tmp_path / "top" / "two.yaml", obj("two"))
    assert [one["metadata"]["name"] for one in load_manifests(tmp_path / "top")] == ["one", "two"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "not valid YAML"),
        ("- 1\n", "is not an object"),
        ("kind: A\nmetadata: {name: x}\n", "has no apiVersion"),
        ("apiVersion: v1\nmetadata: {name: x}\n", "has no kind"),
        ("apiVersion: v1\nkind: A\nmetadata: {}\n", "has no metadata.name"),
        ("apiVersion: v1\nkind: AList\nitems: [7]\n", "is not an object"),
    ],
)
def test_what_is_wrong_is_named_with_its_file(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path / "bad.yaml", text)
    with pytest.raises(ManifestError, match=said) as refused:
        load_manifests(path)
    assert str(path) in str(refused.value)


def test_transformers_are_refused_and_not_ignored(tmp_path: Path) -> None:
    write(tmp_path / "kustomization.yaml", "resources: []\nnamePrefix: x-\n")
    with pytest.raises(ManifestError, match="not namePrefix; build it first: kubectl kustomize"):
        load_manifests(tmp_path)


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no YAML or JSON file"):
        load_manifests(tmp_path)
    with pytest.raises(ManifestError, match="no such file or directory"):
        load_manifests(tmp_path / "none")


def test_the_installation_and_the_samples_can_be_read() -> None:
    kinds = {one["kind"] for name in ("default", "samples") for one in load_manifests(built_in(name))}
    assert {"CustomResourceDefinition", "ClusterRole", "EtlRouterCluster", "EtlPipeline"} <= kinds
