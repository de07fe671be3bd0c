"""The models and the API server accept and reject the same objects, and read the same out of them."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from etl_operator.api import CLUSTER, EtlRouterCluster
from etl_operator.api.base import Model
from etl_operator.api.crds import KINDS, Kind, schema_of
from etl_operator.api.validation import validate
from informers.conditions import set_condition
from informers.objects import Object
from tests.api.objects import objects, spoiled
from tests.api.server import admitted

EACH = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.resource.kind)
SLOW = settings(
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


def made(kind: Kind) -> st.SearchStrategy[Object]:
    return objects(kind.resource.api_version, kind.resource.kind, schema_of(kind.resource))


def reading(read: Callable[[Any], Model], content: Any) -> tuple[Model | None, str]:
    """What is read, or why it is refused."""
    try:
        return read(content), ""
    except ValidationError as error:
        return None, str(error)


@EACH
@SLOW
@given(data=st.data())
def test_both_accept_and_reject_the_same_objects(kind: Kind, data: st.DataObject) -> None:
    obj = data.draw(spoiled(made(kind)))
    untouched = copy.deepcopy(obj)
    stored, causes = admitted(kind.resource, obj)
    read, refused = reading(kind.model.model_validate, obj)
    event("accepted" if not causes else "rejected")
    assert bool(causes) == bool(refused), f"server: {causes}\nmodel: {refused}"
    # The operator reads what the server stored: it must be the same object that the user wrote.
    if not causes:
        assert kind.model.model_validate(stored) == read
    assert obj == untouched
    assert reading(kind.model.model_validate_json, json.dumps(obj)) == (read, refused)


@EACH
@SLOW
@given(data=st.data())
def test_the_model_has_the_defaults_of_the_server(kind: Kind, data: st.DataObject) -> None:
    obj = data.draw(made(kind))
    stored, causes = admitted(kind.resource, obj)
    if causes:
        return
    read = kind.model.model_validate(obj).model_dump(mode="json", by_alias=True, exclude_none=True)
    assert read["spec"] == stored["spec"]


def test_a_status_as_the_operator_writes_it_is_accepted() -> None:
    conditions = set_condition([], "Ready", "True", "ReconciliationSucceeded", "", 1, "2027-01-01T00:00:00Z")
    obj = cluster() | {"status": {"observedGeneration": 1, "conditions": conditions}}
    stored, causes = admitted(CLUSTER, obj)
    assert causes == []
    assert stored["status"] == obj["status"]


_TEXTS = ["10Gi", "20Gi", "9.5Gi", "9.Gi", ".5Gi", "10240Mi", "1Ti", "10G", "1e10", "5Mi", "6Mi", "1Ki"]
SIZES = st.sampled_from([*_TEXTS, 10_737_418_240, 1])
CLASSES = st.sampled_from([None, "standard", "fast"])


@SLOW
@given(st.tuples(SIZES, CLASSES), st.tuples(SIZES, CLASSES))
def test_both_judge_a_change_alike(before: tuple[Any, Any], after: tuple[Any, Any]) -> None:
    old, new = (cluster(storage={"size": size, "storageClassName": name}) for size, name in (before, after))
    _, causes = admitted(CLUSTER, new, old)
    problems = validate(new, old)
    assert bool(causes) == bool(problems), f"server: {causes}\nmodel: {problems}"
    assert {problem.field for problem in problems} <= {"spec.storage"}


def cluster(**spec: Any) -> Object:
    """A cluster as a manifest."""
    return {
        "apiVersion": "etl.router/v1",
        "kind": EtlRouterCluster.__name__,
        "metadata": {"name": "prod", "namespace": "etl"},
        "spec": spec,
    }
