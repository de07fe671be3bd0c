"""The CustomResourceDefinitions: servable, described, bounded, small, and the same in every place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from etl_operator.api.crds import KINDS, Kind, definition, render_crds, schema_of
from etl_operator.cli.main import main
from informers.apiserver.schema import check_structural, compile_schema
from informers.apiserver.schema.cel import Rule

ROOT = Path(__file__).resolve().parents[2]
EACH = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.resource.kind)
LIMIT = 60 * 1024
"""Bytes. Client-side apply keeps the object in an annotation of at most 256 KiB; clients fetch every CRD."""


def fragments(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every fragment of a schema with its path; ``[]`` is an item, ``{}`` a value of a map."""
    yield path, schema
    for name, below in (schema.get("properties") or {}).items():
        yield from fragments(below, f"{path}.{name}".removeprefix("."))
    if "items" in schema:
        yield from fragments(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        yield from fragments(schema["additionalProperties"], f"{path}{{}}")


@EACH
def test_the_schema_can_be_served(kind: Kind) -> None:
    assert check_structural(schema_of(kind.resource)) == []


@EACH
def test_a_default_keeps_the_rules_by_itself(kind: Kind) -> None:
    # A server asks this when it is given the definition, and before it fills in the defaults below.
    for path, fragment in fragments(schema_of(kind.resource)):
        for raw in fragment.get("x-kubernetes-validations", ()) if "default" in fragment else ():
            assert Rule(raw).holds(fragment["default"], fragment["default"]), path


@EACH
def test_a_default_is_what_the_server_would_make_of_nothing(kind: Kind) -> None:
    for path, fragment in fragments(schema_of(kind.resource)):
        if isinstance(fragment.get("default"), dict):
            below = {"type": "object", "properties": {"it": {**fragment, "default": {}}}}
            assert compile_schema(below).defaulted({"it": {}}) == {"it": fragment["default"]}, path


@EACH
def test_every_field_is_described(kind: Kind) -> None:
    ends = ("[]", "{}")
    bare = [
        path
        for path, fragment in fragments(schema_of(kind.resource))
        if not fragment.get("description") and path != "metadata" and not path.endswith(ends)
    ]
    assert bare == []


@EACH
def test_every_default_is_in_the_description(kind: Kind) -> None:
    for path, fragment in fragments(schema_of(kind.resource)):
        default = fragment.get("default")
        if default is not None and not isinstance(default, dict | list):
            word = str(default).lower() if isinstance(default, bool) else str(default)
            assert f"Defaults to {word}." in fragment["description"], path


@EACH
def test_every_optional_field_of_the_spec_says_what_happens_without_it(kind: Kind) -> None:
    spec = schema_of(kind.resource)["properties"]["spec"]
    for name, fragment in spec["properties"].items():
        if name not in spec.get("required", ()) and fragment.get("default") is None:
            assert re.search("Defaults to |If not set, ", fragment["description"]), name


@EACH
def test_every_description_begins_with_the_name_of_its_field(kind: Kind) -> None:
    for path, fragment in fragments(schema_of(kind.resource)):
        name = path.rpartition(".")[2]
        if "description" in fragment and path and "DuringScheduling" not in name:
            assert fragment["description"].split()[0] == name, path


@EACH
def test_every_text_list_map_and_number_is_bounded(kind: Kind) -> None:
    unbounded = []
    for path, fragment in fragments(schema_of(kind.resource)):
        if path in ("", "apiVersion", "kind", "metadata"):
            continue
        needed = {
            "string": fragment.get("enum") or fragment.get("maxLength"),
            "array": fragment.get("maxItems"),
            "integer": "minimum" in fragment and "maximum" in fragment,
            "object": fragment.get("properties") or fragment.get("maxProperties"),
            "boolean": True,
            None: fragment.get("x-kubernetes-int-or-string") and fragment.get("maxLength"),
        }
        if not needed[fragment.get("type")]:
            unbounded.append(path)
    assert unbounded == []


@EACH
def test_the_status_has_the_conditions_kubernetes_knows(kind: Kind) -> None:
    status = schema_of(kind.resource)["properties"]["status"]["properties"]
    conditions = status["conditions"]
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]
    assert set(conditions["items"]["required"]) == {
        "type",
        "status",
        "reason",
        "message",
        "lastTransitionTime",
    }
    assert "observedGeneration" in status


@EACH
def test_people_find_the_kind(kind: Kind) -> None:
    crd = definition(kind)
    names = crd["spec"]["names"]
    assert names["categories"] == ["etl"]
    assert names["shortNames"] == [kind.short_name]
    (version,) = crd["spec"]["versions"]
    assert "status" in version["subresources"]
    columns = [column["name"] for column in version["additionalPrinterColumns"] if "priority" not in column]
    assert columns[0] == "Ready"
    assert columns[-1] == "Age"
    assert crd["metadata"]["name"] == f"{names['plural']}.{crd['spec']['group']}"


def test_only_clusters_can_be_scaled_and_their_scale_reads_real_fields() -> None:
    scalable = {
        kind.resource.kind: definition(kind)["spec"]["versions"][0] for kind in KINDS if kind.scalable
    }
    assert list(scalable) == ["EtlRouterCluster"]
    version = scalable["EtlRouterCluster"]
    schema = version["schema"]["openAPIV3Schema"]
    for path in version["subresources"]["scale"].values():
        _, section, field = path.split(".")
        assert field in schema["properties"][section]["properties"]


@EACH
def test_columns_read_fields_that_exist(kind: Kind) -> None:
    known = {path.replace("[]", "") for path, _ in fragments(schema_of(kind.resource))}
    for column in kind.columns:
        path = column.json_path.removeprefix(".").replace('[?(@.type=="Ready")]', "")
        assert path in known | {"metadata.creationTimestamp"}


def test_a_file_stays_small() -> None:
    assert {name: len(text) for name, text in render_crds().items() if len(text.encode()) >= LIMIT} == {}


def test_the_text_says_what_the_definition_says() -> None:
    assert [yaml.safe_load(text) for text in render_crds().values()] == [definition(kind) for kind in KINDS]


@pytest.mark.parametrize("directory", ["config/crd/bases", "helm/etl-operator/crds"])
def test_the_files_are_up_to_date(directory: str) -> None:
    found = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / directory).iterdir()}
    assert found == render_crds(), "run: make manifests"


def test_the_command_prints_and_writes_them(tmp_path: Path) -> None:
    printed = CliRunner().invoke(main, ["crds"], catch_exceptions=False)
    assert [obj["metadata"]["name"] for obj in yaml.safe_load_all(printed.output)] == [
        str(kind.resource) for kind in KINDS
    ]
    CliRunner().invoke(main, ["crds", "--output-dir", str(tmp_path / "new")], catch_exceptions=False)
    assert {path.name for path in (tmp_path / "new").iterdir()} == set(render_crds())


@EACH
def test_bounds_survive_as_floating_point_numbers(kind: Kind) -> None:
    """A real server keeps them so, and refuses every value when one no longer fits its field's format."""
    for path, fragment in fragments(schema_of(kind.resource)):
        for word in ("minimum", "maximum"):
            bound = fragment.get(word, 0)
            assert int(float(bound)) == bound, f"{path}: {word} {bound}"
