"""Reasons of pods that do not start: the same words with every try, and the cause where there is one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.members.troubles import lasting, steady, trouble


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"name": "router", "state": {"waiting": {"reason": reason, "message": message}}}


UUIDS = ("0b6f3a52-9c1e-4a57-8f0e-2b1f6f0c9a11", "5d1d7f3c-0a43-4f0f-9c55-9a1f0f6b2c77")
PULL = (
    'failed to pull and unpack image "reg.example/r:1": failed to do request: Head '
    '"https://reg.example/v2/r/manifests/1": dial tcp: lookup reg.example on 10.96.0.10:53: '
    "read udp {near}->10.96.0.10:53: i/o timeout"
)
NEAR = st.one_of(
    st.builds("10.244.0.{}:{}".format, st.integers(1, 254), st.integers(1024, 65535)),
    st.builds("[fd00::{}]:{}".format, st.integers(1, 9), st.integers(1024, 65535)),
)


@given(st.lists(NEAR, min_size=2, max_size=4), st.lists(st.booleans(), min_size=4, max_size=4))
def test_every_try_of_a_pull_says_the_same(ports: list[str], backing_off: list[bool]) -> None:
    told = set()
    for near, back_off in zip(ports, backing_off, strict=False):
        cause = PULL.format(near=near)
        if back_off:
            state = waiting(
                "ImagePullBackOff", f'Back-off pulling image "reg.example/r:1": ErrImagePull: {cause}'
            )
        else:
            state = waiting("ErrImagePull", cause)
        told.add(trouble(state, {}))
    (text,) = told
    assert text.startswith("ImagePullBackOff: failed to pull")
    assert "10.96.0.10:53: i/o timeout" in text


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        (
            f"back-off 10s restarting failed container=router pod=x-0_ns({UUIDS[0]})",
            f"back-off 2m40s restarting failed container=router pod=x-0_ns({UUIDS[1]})",
            "restarting failed container=router pod=x-0_ns",
        ),
        (
            f"failed to reserve container name: name is reserved for {'a1' * 32}",
            f"failed to reserve container name: name is reserved for {'b2' * 32}",
            "failed to reserve",
        ),
        (
            "toomanyrequests, retry after 2026-11-30T15:00:00Z, request id: 1a-2b",
            "toomanyrequests, retry after 2026-11-30T15:01:07.5+01:00, request id: 3c-4d",
            "toomanyrequests",
        ),
        ("no answer after 1.5s (in 3ms)", "no answer after 20.25s (in 1m3s)", "no answer after"),
    ],
)
def test_what_changes_from_try_to_try_is_left_out(first: str, second: str, kept: str) -> None:
    assert steady(first) == steady(second)
    assert kept in steady(first)


@pytest.mark.parametrize(
    "text",
    [
        'secret "own" not found',
        f'image "reg.example/r@sha256:{"ab" * 32}" is not there',
        'image "r:10m" and "r:2026-11-30" are not there',
        "dial tcp 10.0.0.7:443: connect: connection refused",
        "0/3 nodes are available: 3 Insufficient memory.",
    ],
)
def test_what_says_something_stays(text: str) -> None:
    assert steady(text) == text


def test_a_pod_that_no_node_takes_says_why() -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
    assert trouble({}, {"conditions": [condition]}) == "Unschedulable: 0/3 nodes"


def test_an_init_container_is_named_only_where_the_router_waits_for_it() -> None:
    init = [{"name": "mesh", "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5s"}}}]
    assert trouble(waiting("PodInitializing"), {"initContainerStatuses": init}) == (
        "PodInitializing: init container mesh: CrashLoopBackOff: back-off ..."
    )
    assert trouble({"state": {"running": {}}}, {"initContainerStatuses": init}) == ""


@given(st.lists(st.booleans(), min_size=1, max_size=12), st.booleans())
def test_a_back_off_that_names_no_cause_keeps_the_one_that_is_known(tries: list[bool], inside: bool) -> None:
    pulling = {
        True: waiting("ErrImagePull", "manifest unknown"),
        False: waiting("ImagePullBackOff", 'Back-off pulling image "reg.example/r:1"'),
    }
    text, told = "", []
    for names_cause in tries:
        state = pulling[names_cause]
        now = (
            trouble(waiting("PodInitializing"), {"initContainerStatuses": [{**state, "name": "mesh"}]})
            if inside
            else trouble(state, {})
        )
        text = lasting(now, text)
        told.append(text)
    first = tries.index(True) if True in tries else len(tries)
    prefix = "PodInitializing: init container mesh: " if inside else ""
    assert told[:first] == [f"{prefix}ImagePullBackOff"] * first
    assert told[first:] == [f"{prefix}ImagePullBackOff: manifest unknown"] * (len(tries) - first)


@pytest.mark.parametrize(
    ("now", "before"),
    [
        ("", "ImagePullBackOff: manifest unknown"),
        ("ContainerCreating", "ImagePullBackOff: manifest unknown"),
        ("ImagePullBackOff: no such host", "ImagePullBackOff: manifest unknown"),
        ("ImagePullBackOff", "CrashLoopBackOff: back-off ..."),
        ("PodInitializing: init container a: ImagePullBackOff", "ImagePullBackOff: manifest unknown"),
    ],
)
def test_what_is_known_of_something_else_is_not_kept(now: str, before: str) -> None:
    assert lasting(now, before) == now


def test_a_container_that_keeps_ending_says_how() -> None:
    looping = waiting("CrashLoopBackOff", "back-off 10s restarting failed container=router")
    told = "CrashLoopBackOff: back-off ... restarting failed container=router"
    assert trouble(looping, {}) == told
    for reason, shown in (("OOMKilled", " (OOMKilled)"), ("Error", "")):
        ended = {"terminated": {"exitCode": 137, "reason": reason}}
        assert trouble({**looping, "lastState": ended}, {}) == f"{told}; it ended with exit code 137{shown}"
    # How the one before ended is no reason for anything else.
    ended = {"terminated": {"exitCode": 1, "reason": "Error"}}
    assert trouble({**waiting("ContainerCreating"), "lastState": ended}, {}) == "ContainerCreating"


@pytest.mark.parametrize("router", [{}, {"name": "router", "ready": True, "state": {"running": {}}}])
def test_what_is_wrong_with_the_whole_pod_is_told(router: dict[str, Any]) -> None:
    status = {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}
    assert trouble(router, status) == "Evicted: The node was low on resource: memory."
    assert trouble(router, {"reason": "NodeLost"}) == "NodeLost"


def test_the_init_container_that_is_waited_for_is_named() -> None:
    init = [
        {"name": "sidecar", "state": {"running": {}}},
        {"name": "copy", "state": {"running": {}}},
        {"name": "later", "state": {"waiting": {"reason": "PodInitializing"}}},
    ]
    router = waiting("PodInitializing")
    assert (
        trouble(router, {"initContainerStatuses": init}) == "PodInitializing: init container copy is running"
    )
    assert trouble(router, {"initContainerStatuses": init[2:]}) == "PodInitializing"
