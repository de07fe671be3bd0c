"""What the benchmark of a fleet creates, and what it counts as a write."""

from __future__ import annotations

from benchmarks.fleet import Result, fleet
from etl_operator.api import PIPELINE, SINK, SOURCE, TRANSFORM, EtlPipeline


def test_every_pipeline_has_services_of_its_own() -> None:
    made = list(fleet(3, "127.0.0.1:1"))
    names = {
        resource: {obj["metadata"]["name"] for kind, obj in made if kind == resource} for resource, _ in made
    }
    assert {resource: len(found) for resource, found in names.items()} == dict.fromkeys(
        (SOURCE, TRANSFORM, SINK, PIPELINE), 3
    )
    used: set[str] = set()
    for resource, obj in made:
        if resource == PIPELINE:
            spec = EtlPipeline.model_validate(obj).spec
            used |= {spec.source, *spec.steps, spec.sink}
    assert used == names[SOURCE] | names[TRANSFORM] | names[SINK]


def test_a_write_or_a_change_of_a_router_fails() -> None:
    good = Result(500, lease_writes=7)
    assert good.holds
    assert "| 0; must be 0 |" in good.table()
    written = Result(500, writes={"patch etlpipelines": 2})
    assert not written.holds
    assert "2 patch etlpipelines; must be 0" in written.table()
    assert not Result(500, mutations=1.0).holds
