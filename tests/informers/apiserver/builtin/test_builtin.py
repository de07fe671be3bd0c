"""What holds for every built-in kind, and what is allotted rather than said."""

from __future__ import annotations

import copy
import ipaddress
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from informers.apiserver.builtin import rules
from informers.apiserver.builtin.gotypes import shaped
from informers.apiserver.builtin.pod_defaults import image_pull_policy, quality_of_service
from informers.apiserver.builtin.services import ADDRESSES, NODE_PORTS
from informers.apiserver.core import ApiServer
from informers.apiserver.errors import StatusError
from informers.client.transport import HttpRequest
from informers.objects import Object, ObjectKey, Resource
from informers.testing.clock import VirtualClock, run_virtual
from informers.testing.transport import ApiServerTransport
from tests.informers.apiserver.scenarios.asked_of_builtins import CHANGED
from tests.informers.apiserver.scenarios.builtin_objects import CREATED, service
from tests.informers.apiserver.scenarios.steps import resource_of

SERVICES = Resource("", "v1", "services", "Service")


@pytest.fixture
def core(monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    clock = VirtualClock()
    monkeypatch.setattr(clock, "time", lambda: 1_767_000_000.0)
    monkeypatch.setattr(clock, "monotonic", lambda: 0.0)
    server = ApiServer(clock, rng=random.Random(1))
    server.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}})
    yield server


def placed(obj: Object, name: str = "") -> Object:
    resource = resource_of(obj)
    metadata = {**obj["metadata"], "name": name or obj["metadata"]["name"]}
    if resource.namespaced:
        metadata["namespace"] = "n"
    return {**obj, "metadata": metadata}


OBJECTS = {**CREATED, **{f"changed {name}": before for name, (before, _) in CHANGED.items()}}
MALFORMED = ("no quantity", "lease with coarse time", "secret that is no base64")


@pytest.mark.parametrize("name", [name for name in OBJECTS if name not in MALFORMED])
def test_preparing_is_stable_and_leaves_its_arguments_alone(core: ApiServer, name: str) -> None:
    obj = placed(OBJECTS[name])
    type_ = core.registry.of(resource_of(obj))
    assert type_ is not None
    context = core.backend.context(type_, "")
    before = copy.deepcopy(obj)
    once = rules.prepare_create(obj, context)
    assert obj == before
    held = copy.deepcopy(once)
    assert rules.prepare_update(once, once, context) == once
    rules.validate(once, None, context)
    rules.validate(once, once, context)
    assert once == held


@pytest.mark.parametrize("name", MALFORMED)
def test_what_no_go_type_takes_is_400(core: ApiServer, name: str) -> None:
    with pytest.raises(StatusError) as refusal:
        core.create(placed(OBJECTS[name]))
    assert (refusal.value.code, refusal.value.reason) == (400, "BadRequest")


def ip(obj: Object) -> str:
    address: str = obj["spec"]["clusterIP"]
    return address


def test_addresses_are_unique_and_stay(core: ApiServer) -> None:
    made = [core.create(placed(service(), f"s{number}")) for number in range(20)]
    assert len({ip(one) for one in made}) == 20
    assert all(ipaddress.ip_address(ip(one)) in ADDRESSES for one in made)
    changed = core.edit(SERVICES, ObjectKey("n", "s0"), lambda one: _without(one, "clusterIP", "clusterIPs"))
    assert ip(changed) == ip(made[0])


def _without(obj: Object, *names: str) -> Object:
    for name in names:
        obj["spec"].pop(name)
    return obj


def test_an_address_can_be_asked_for_once(core: ApiServer) -> None:
    wanted = str(ADDRESSES[77])
    core.create(placed(service(clusterIP=wanted), "first"))
    with pytest.raises(StatusError) as refusal:
        core.create(placed(service(clusterIP=wanted), "second"))
    assert refusal.value.code == 422
    assert f"failed to allocate IP {wanted}: provided IP is already allocated" in refusal.value.message
    core.delete(SERVICES, ObjectKey("n", "first"))
    assert ip(core.create(placed(service(clusterIP=wanted), "second"))) == wanted


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("192.0.2.1", "the provided IP (192.0.2.1) is not in the valid range"),
        ("nowhere", "must be a valid IP address"),
    ],
)
def test_other_addresses_are_refused(core: ApiServer, address: str, words: str) -> None:
    with pytest.raises(StatusError) as refusal:
        core.create(placed(service(clusterIP=address)))
    assert refusal.value.code == 422
    assert words in refusal.value.message


def test_node_ports_are_unique_and_stay(core: ApiServer) -> None:
    ports = [{"name": "a", "port": 80}, {"name": "b", "port": 81}]
    made = [core.create(placed(service(type="NodePort", ports=ports), f"s{number}")) for number in range(10)]
    numbers = [port["nodePort"] for one in made for port in one["spec"]["ports"]]
    assert len(set(numbers)) == 20
    assert set(numbers) <= set(NODE_PORTS)

    def forget(one: Object) -> Object:
        for port in one["spec"]["ports"]:
            port.pop("nodePort")
        return one

    changed = core.edit(SERVICES, ObjectKey("n", "s3"), forget)
    assert changed["spec"]["ports"] == made[3]["spec"]["ports"]
    with pytest.raises(StatusError, match="provided port is already allocated"):
        core.create(placed(service(type="NodePort", ports=[{"port": 80, "nodePort": numbers[0]}]), "late"))


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("x", "Always"),
        ("x:latest", "Always"),
        ("x:1.2", "IfNotPresent"),
        ("host:5000/x", "Always"),
        ("host:5000/x:1", "IfNotPresent"),
        ("x@sha256:" + "0" * 64, "IfNotPresent"),
        ("x:latest@sha256:" + "0" * 64, "IfNotPresent"),
    ],
)
def test_what_is_pulled_always(image: str, policy: str) -> None:
    assert image_pull_policy(image) == policy


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ([{}], "BestEffort"),
        ([{"requests": {"cpu": "1"}}], "Burstable"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}}], "Guaranteed"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}], "Burstable"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}}, {}], "Burstable"),
    ],
)
def test_quality_of_service(resources: list[Object], expected: str) -> None:
    assert quality_of_service({"containers": [{"resources": one} for one in resources]}) == expected


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 70000) | st.floats(-1, 2) | st.text("a1-/", max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["name", "a"]), inner, max_size=2)
    ),
    max_leaves=4,
)


def places(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of everything below the type and the name of an object."""
    if path and path not in (("apiVersion",), ("kind",), ("metadata",), ("metadata", "name")):
        yield path
    if isinstance(value, dict):
        for key, below in value.items():
            yield from places(below, (*path, key))
    elif isinstance(value, list):
        for position, below in enumerate(value):
            yield from places(below, (*path, position))


@given(st.data())
@settings(max_examples=300)
def test_junk_anywhere_is_refused_or_taken_but_never_crashes(data: st.DataObject) -> None:
    obj = copy.deepcopy(OBJECTS[data.draw(st.sampled_from(sorted(OBJECTS)))])
    path = data.draw(st.sampled_from(list(places(obj)) or [("spec",)]))
    holder: Any = obj
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = data.draw(JUNK)

    async def create() -> None:
        core = ApiServer(VirtualClock(), rng=random.Random(1))
        core.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}})
        resource = resource_of(obj)
        namespace = "n" if resource.namespaced else ""
        sent = HttpRequest("POST", resource.path(namespace), (), json.dumps(obj).encode())
        response = await ApiServerTransport(core).request(sent)
        assert response.status in (201, 400, 422), response.body

    run_virtual(create())


CONTAINERS = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from("ab"), "image": st.sampled_from(["", "i:1"])},
        optional={
            "tty": st.booleans(),
            "args": st.lists(st.just("x"), max_size=1),
            "resources": st.fixed_dictionaries(
                {}, optional={"limits": st.dictionaries(st.just("cpu"), st.sampled_from(["1", "1000m", 1]))}
            ),
            "securityContext": st.fixed_dictionaries({}, optional={"privileged": st.booleans()}),
        },
    ),
    max_size=2,
)


@given(CONTAINERS)
def test_the_form_of_go_types_is_stable(containers: list[Object]) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": containers}}
    before = copy.deepcopy(pod)
    once = shaped(pod, "", "Pod")
    assert pod == before
    assert shaped(once, "", "Pod") == once
    for sent, written in zip(containers, once["spec"]["containers"], strict=True):
        assert written.get("tty", False) == sent.get("tty", False)
        # A flag that may be unset keeps its false; one that may not loses it.
        assert "tty" not in written or written["tty"]
        assert written.get("securityContext") == sent.get("securityContext")
