"""What is read from a pod: the router in it, and nothing of the containers beside it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.members.facts import PodFacts, pod_facts
from controllers.members.reach import reach_changed
from informers.cache.informer import Delta
from informers.objects import Object
from informers.views.view import View, view_of_object

RUNNING = {"running": {"startedAt": "2027-01-15T08:00:00Z"}}
WAITING = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}
ENDED = {"terminated": {"exitCode": 1}}


def pod(
    router: dict[str, Any] | None,
    *others: dict[str, Any],
    ready: str = "True",
    containers_ready: str = "True",
) -> Object:
    """A pod whose container statuses are these, and its conditions."""
    statuses = [*others, *([{"name": "router", **router}] if router else [])]
    return {
        "metadata": {"name": "c-0", "namespace": "n", "uid": "u", "labels": {"etl.router/cluster": "c"}},
        "spec": {
            "containers": [
                {"name": "helper", "ports": [{"name": "grpc", "containerPort": 15010}]},
                {"name": "router", "ports": [{"name": "grpc", "containerPort": 6000}]},
            ]
        },
        "status": {
            "phase": "Running",
            "conditions": [
                {"type": "ContainersReady", "status": containers_ready},
                {"type": "Ready", "status": ready},
            ],
            "containerStatuses": statuses,
        },
    }


def facts(obj: Object) -> PodFacts:
    found = pod_facts(obj, "c")
    assert found is not None
    return found


STATES = st.sampled_from([RUNNING, WAITING, ENDED, {}])
HELPERS = st.lists(
    st.fixed_dictionaries({"name": st.just("helper"), "ready": st.booleans(), "state": STATES}), max_size=3
)


@given(ready=st.booleans(), state=STATES, helpers=HELPERS)
def test_helpers_change_nothing(ready: bool, state: Any, helpers: list[dict[str, Any]]) -> None:
    alone = facts(pod({"ready": ready, "state": state}, ready=str(ready), containers_ready=str(ready)))
    well = all(one["ready"] for one in helpers) and ready
    among = facts(
        pod({"ready": ready, "state": state}, *helpers, ready=str(well), containers_ready=str(well))
    )
    assert (among.ready, among.running, among.trouble) == (alone.ready, alone.running, alone.trouble)
    assert among.ready is ready
    assert among.running is (state == RUNNING)
    assert bool(among.trouble) is (state == WAITING)
    assert among.withheld is (ready and not well)


def test_the_port_is_the_routers_own() -> None:
    assert facts(pod({"ready": True, "state": RUNNING})).grpc_port == 6000


def test_a_pod_on_a_node_that_is_gone_is_not_ready_although_its_container_statuses_say_so() -> None:
    # The node controller withdraws the pod's Ready and leaves everything else as the kubelet wrote it last.
    assert not facts(pod({"ready": True, "state": RUNNING}, ready="False")).ready


def test_a_pod_whose_router_has_not_been_made_yet_does_not_run() -> None:
    early = facts(pod(None, {"name": "helper", "ready": True, "state": RUNNING}, ready="False"))
    assert (early.ready, early.running) == (False, False)


def view(obj: Object, version: int) -> View:
    made = view_of_object({**obj, "metadata": {**obj["metadata"], "resourceVersion": str(version)}})
    assert made is not None
    return made


@pytest.mark.parametrize(("ready", "changed"), [(True, False), (False, True)])
def test_services_are_woken_by_the_router_and_not_by_a_helper(ready: bool, changed: bool) -> None:
    down = {"name": "helper", "ready": False, "state": WAITING}
    before = pod({"ready": True, "state": RUNNING}, down, ready="False", containers_ready="False")
    after = pod(
        {"ready": ready, "state": RUNNING}, {**down, "state": ENDED}, ready="False", containers_ready="False"
    )
    assert reach_changed(Delta(view(before, 1), view(after, 2))) is changed
