"""Typed access to objects."""

from __future__ import annotations

from typing import Any

import msgspec
import pydantic
import pytest
from pydantic.alias_generators import to_camel

from informers.views.typed import Typed, read_spec, read_status
from informers.views.view import View, view_of_object


class Spec(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(alias_generator=to_camel)
    max_retries: int = 3
    sink: str = ""


class Status(msgspec.Struct):
    phase: str


class Pipeline(pydantic.BaseModel):
    kind: str
    spec: Spec


def view(**fields: Any) -> View:
    meta = {"name": "x", "namespace": "n", "resourceVersion": "1"}
    found = view_of_object({"apiVersion": "etl.router/v1", "kind": "EtlPipeline", "metadata": meta, **fields})
    assert found is not None
    return found


def test_a_part_is_read_as_either_librarys_model() -> None:
    found = view(spec={"maxRetries": 5}, status={"phase": "Running"})
    assert read_spec(found, Spec) == Spec(maxRetries=5)
    assert read_spec(found, dict[str, int]) == {"maxRetries": 5}
    assert read_status(found, Status) == Status("Running")


def test_both_are_read_only_once() -> None:
    pipeline = Typed(view(spec={"maxRetries": 5}, status={"phase": "Running"}), Spec, Status)
    assert pipeline.spec == Spec(maxRetries=5)
    assert pipeline.status == Status("Running")
    assert pipeline.spec is pipeline.spec and pipeline.status is pipeline.status


def test_parts_that_are_not_there() -> None:
    for nothing in ({}, {"spec": None, "status": None}):
        pipeline = Typed(view(**nothing), Spec, Status)
        assert pipeline.spec == Spec()
        assert pipeline.status is None


@pytest.mark.parametrize("part", ["spec", "status"])
def test_what_does_not_fit_is_a_value_error_when_it_is_looked_at(part: str) -> None:
    pipeline = Typed(view(spec={"maxRetries": "many"}, status={"phase": 5}), Spec, Status)
    with pytest.raises(ValueError, match=r"maxRetries|phase"):
        getattr(pipeline, part)


def test_every_reconcile_has_its_own() -> None:
    shared = view(spec={"sink": "a"})
    mine, theirs = Typed(shared, Spec, Status), Typed(shared, Spec, Status)
    mine.spec.sink = "changed"
    assert theirs.spec.sink == "a"


def test_whole_objects() -> None:
    pod = view(spec={"sink": "a"})
    assert pod.decode(Pipeline).spec.sink == "a"
    assert pod.decode(dict[str, Any]) == pod.object()
    with pytest.raises(msgspec.ValidationError):
        pod.decode(Status)
