"""Why pods do not start, where their status does not say it: read from events, at a bounded rate."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.cluster.explaining import explained
from controllers.objects.kinds import POD, PVC, STATEFUL_SET
from informers.errors import Forbidden, ServerError
from tests.controllers.cluster.running import NAME, Running

CREATING = {
    "phase": "Pending",
    "conditions": [{"type": "Ready", "status": "False"}, {"type": "PodScheduled", "status": "True"}],
    "containerStatuses": [
        {"name": "router", "ready": False, "state": {"waiting": {"reason": "ContainerCreating"}}}
    ],
}
MISSING = 'MountVolume.SetUp failed for volume "tls" : secret "c-tls" not found'
NAMED = 'volume "tls": secret "c-tls" not found (FailedMount)'
CREATE = "FailedCreate"
OTHER = MISSING.replace("c-tls", "b")
START = 1_800_000_000
VAGUE = (
    "Unable to attach or mount volumes: unmounted volumes=[tls], unattached volumes=[tls tmp], "
    "failed to process volumes=[]: timed out waiting for the condition"
)


def stamp(seconds: float) -> str:
    return datetime.fromtimestamp(START + seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def event(message: str, reason: str = "FailedMount", at: float = 0.0, **fields: Any) -> dict[str, Any]:
    return {"type": "Warning", "reason": reason, "message": message, "lastTimestamp": stamp(at), **fields}


# -- what events say ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("events", "text"),
    [
        ([], ""),
        ([event(MISSING)], NAMED),
        ([event(MISSING), event(VAGUE, at=60)], NAMED),
        ([event("(combined from similar events): " + MISSING)], NAMED),
        # The newest is all that holds, unless others were repeated at the same time.
        ([event(MISSING), event(OTHER, at=200)], NAMED.replace("c-tls", "b")),
        ([event(OTHER, at=100), event(MISSING, at=200)], f'{NAMED.replace("c-tls", "b")}; {NAMED}'),
        # These stop no pod.
        ([event("Search Line limits were exceeded", "DNSConfigForming", at=9)], ""),
        ([event("Readiness probe failed", "Unhealthy", at=9), event("Back-off", "BackOff")], ""),
        (
            [event('create Pod p-0 in StatefulSet p failed error: pods "p-0" is forbidden: no', CREATE)],
            'p-0: pods "p-0" is forbidden: no (FailedCreate)',
        ),
        (
            [
                event(
                    'create Claim data-p-0 Pod p-0 in StatefulSet p failed error: persistentvolumeclaims '
                    '"data-p-0" is forbidden: exceeded quota: small',
                    "FailedCreate",
                )
            ],
            'data-p-0: persistentvolumeclaims "data-p-0" is forbidden: exceeded quota: small (FailedCreate)',
        ),
    ],
)  # fmt: skip
def test_the_cause_is_taken_from_the_events_that_hold(events: list[dict[str, Any]], text: str) -> None:
    assert explained(events) == text
    assert explained(reversed(events)) == text


def test_events_of_newer_recorders_count_by_their_own_times() -> None:
    new = {"type": "Warning", "reason": "FailedMount", "message": "new", "lastTimestamp": None}
    once = {**new, "eventTime": "2027-01-15T08:10:00.123456Z"}
    again = {**new, "series": {"count": 9, "lastObservedTime": "2027-01-15T08:10:00.123456Z"}}
    for one in (once, again):
        assert explained([event("old"), one]) == "new (FailedMount)"
    assert explained([event("old", at=9), {**new, "eventTime": "soon"}]) == "old (FailedMount)"


def test_what_has_not_happened_since_is_over() -> None:
    assert explained([event(MISSING, at=10)], START + 10) != ""
    assert explained([event(MISSING, at=10)], START + 11) == ""


SANDBOX = (
    "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox "
    '"{id}": plugin type="loopback" failed (add): dial tcp 10.0.0.1:{port}->10.96.0.1:443: i/o timeout'
)


@given(
    st.lists(
        st.tuples(
            st.text("0123456789abcdef", min_size=64, max_size=64),
            st.integers(1024, 65535),
            st.integers(0, 140),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_the_text_is_the_same_with_every_try(tries: list[tuple[str, int, int]]) -> None:
    events = [
        event(SANDBOX.format(id=id_, port=port), "FailedCreatePodSandBox", at) for id_, port, at in tries
    ]
    texts = {explained(events[:seen]) for seen in range(1, len(events) + 1)}
    (text,) = texts
    assert text.startswith("Failed to create pod sandbox: rpc error")
    assert text.endswith("(FailedCreatePodSandBox)")


def test_a_text_is_not_longer_than_a_reader_bears() -> None:
    assert len(explained([event(f"{number} " + "x" * 2000) for number in range(9)])) < 1000


# -- a cluster whose pods do not start ---------------------------------------------------------------


async def stuck(running: Running, *pods: str) -> None:
    for pod in pods:
        running.store.edit(POD, pod, {"status": CREATING})
    await running.once()


def ready(running: Running) -> str:
    return str(running.condition("Ready")["message"])


def uid(running: Running, pod: str) -> str:
    return str(running.store.of(POD, pod)["metadata"]["uid"])


async def test_a_missing_secret_is_named_until_the_pod_runs() -> None:
    running = await Running().started()
    running.store.events[uid(running, "prod-2")] = [event(MISSING)]
    await stuck(running, "prod-2")
    assert ready(running).endswith("prod-2: ContainerCreating")
    assert running.store.asked == []
    told = set()
    for _ in range(20):
        await running.later(6)
        told.add(ready(running))
    (message,) = told
    assert message.endswith('; prod-2: volume "tls": secret "c-tls" not found (FailedMount)')
    assert running.condition("Ready")["reason"] == "PodsNotReady"
    running.world.set_ready("prod-2", True)
    running.store.asked.clear()
    for _ in range(5):
        await running.later(60)
    assert "c-tls" not in ready(running)
    assert running.condition("Ready")["status"] == "True"
    assert running.store.asked == []


async def test_events_are_read_at_a_bounded_rate() -> None:
    running = await Running(replicas=5).started()
    pods = [f"prod-{ordinal}" for ordinal in range(5)]
    for pod in pods:
        running.store.events[uid(running, pod)] = [event(MISSING.replace("c-tls", f"of-{pod}"))]
    await stuck(running, *pods)
    await running.later(5)
    for _ in range(50):
        await running.once()
    # Three in one pass, and the others in the next; then not before another five seconds.
    assert sorted(running.store.asked) == sorted(uid(running, pod) for pod in pods)
    assert all(f"of-{pod}" in ready(running) for pod in pods)
    await running.later(5)
    assert len(running.store.asked) == 8


async def test_a_pod_of_which_events_say_nothing_is_said_to_be_looked_at() -> None:
    running = await Running().started()
    await stuck(running, "prod-2")
    told = set()
    await running.later(10)
    assert ready(running).endswith("prod-2: ContainerCreating")
    for _ in range(5):
        await running.later(20)
        told.add(ready(running))
    (message,) = told
    assert message.endswith(
        "prod-2: ContainerCreating; no Warning event says why: kubectl describe pod prod-2 -n etl"
    )


async def test_without_the_right_to_read_events_the_right_is_named() -> None:
    running = await Running().started()
    running.store.no_events = Forbidden(403, message="events is forbidden")
    await stuck(running, "prod-2")
    await running.later(30)
    assert ready(running).endswith(
        "prod-2: ContainerCreating; its events say why: kubectl describe pod prod-2 -n etl "
        "(the operator has no permission to list events in namespace etl)"
    )
    running.store.no_events = None
    running.store.events[uid(running, "prod-2")] = [event(MISSING)]
    await running.later(30)
    assert "c-tls" in ready(running)


async def test_what_was_known_stays_while_events_cannot_be_read() -> None:
    running = await Running().started()
    running.store.events[uid(running, "prod-2")] = [event(MISSING)]
    await stuck(running, "prod-2")
    await running.later(10)
    before = ready(running)
    assert "c-tls" in before
    running.store.no_events = ServerError(500, message="no leader of etcd")
    await running.later(10)
    assert ready(running) == before


async def test_a_claim_without_a_class_is_named() -> None:
    running = await Running().started()
    waiting = {
        "phase": "Pending",
        "conditions": [
            {
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": "pod has unbound immediate PersistentVolumeClaims",
            }
        ],
        "containerStatuses": [],
    }
    running.store.edit(POD, "prod-1", {"status": waiting})
    claim = running.store.edit(PVC, "data-prod-1", {"status": {"phase": "Pending"}})
    running.store.events[claim["metadata"]["uid"]] = [
        event('storageclass.storage.k8s.io "fast" not found', "ProvisioningFailed")
    ]
    await running.once()
    await running.later(10)
    assert ready(running).endswith(
        "prod-1: Unschedulable: pod has unbound immediate PersistentVolumeClaims; its volume: "
        'storageclass.storage.k8s.io "fast" not found (ProvisioningFailed)'
    )
    running.store.edit(PVC, "data-prod-1", {"status": {"phase": "Bound"}})
    await running.later(10)
    assert "fast" not in ready(running)


async def test_pods_that_cannot_be_created_are_explained() -> None:
    running = Running()
    await running.once()
    owner = running.store.of(STATEFUL_SET, NAME)["metadata"]["uid"]
    refused = 'create Pod prod-0 in StatefulSet prod failed error: pods "prod-0" is forbidden: exceeded quota'
    running.store.events[owner] = [event(refused, "FailedCreate")]
    await running.later(1)
    assert ready(running) == "creating 3 members"
    await running.later(10)
    assert ready(running) == (
        "0 of 3 members are ready; 3 of 3 pods cannot be created: "
        'prod-0: pods "prod-0" is forbidden: exceeded quota (FailedCreate)'
    )
    assert running.condition("Ready")["reason"] == "PodsNotReady"
    running.world.run_stateful_set(NAME)
    await running.once()
    assert running.condition("Ready")["status"] == "True"
    # A pod that goes later is no news of that quota: pods have been created since.
    created = {"metadata": {"creationTimestamp": stamp(60)}}
    for ordinal in range(2):
        running.store.edit(POD, f"prod-{ordinal}", created)
    running.store.remove(POD, "prod-2")
    await running.once()
    await running.later(10)
    assert running.store.asked[-1] == owner
    assert "quota" not in ready(running)


async def test_a_pod_that_was_made_anew_has_its_own_time_to_start() -> None:
    running = await Running().started()
    for _ in range(4):
        running.store.remove(POD, "prod-2")
        running.world.run_stateful_set(NAME, ready=False)
        waiting = {"name": "router", "ready": False, "state": {"waiting": {"reason": "ContainerCreating"}}}
        running.store.edit(POD, "prod-2", {"status": {"containerStatuses": [waiting]}})
        await running.later(1)
        await running.later(15)
        assert running.condition("Ready")["message"].endswith("prod-2: ContainerCreating")


def pulling(image: str, reason: str, message: str) -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}}
    return {
        "spec": {"containers": [{"name": "router", "image": image}]},
        "status": {"containerStatuses": [{"name": "router", "ready": False, "state": state}]},
    }


async def test_the_cause_of_a_failed_pull_stays_through_its_back_off() -> None:
    running = await Running().started()
    told = set()
    for reason, message in [
        ("ErrImagePull", "manifest unknown"),
        ("ImagePullBackOff", 'Back-off pulling image "r:1"'),
    ] * 3:
        running.store.edit(POD, "prod-2", pulling("r:1", reason, message))
        await running.later(1)
        told.add(ready(running))
    (text,) = told
    assert text.endswith("prod-2: ImagePullBackOff: manifest unknown")
    # Of another image nothing is known yet.
    running.store.edit(POD, "prod-2", pulling("r:2", "ImagePullBackOff", 'Back-off pulling image "r:2"'))
    await running.later(1)
    assert ready(running).endswith("prod-2: ImagePullBackOff")
