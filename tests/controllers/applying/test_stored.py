"""What was sent is compared with what the API server stores: the rules of the real kinds, in virtual time."""

from __future__ import annotations

import itertools
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from controllers.applying.apply import Applier, Outcome
from controllers.applying.comparing import Difference, contains, differences, without_empty_texts
from controllers.cluster import children
from controllers.cluster.statefulset import stateful_set
from controllers.objects.kinds import CONFIG_MAP, DISRUPTION_BUDGET, SERVICE, SERVICE_ACCOUNT, STATEFUL_SET
from controllers.wiring.settings import ControllerSettings
from etl_operator.api import CLUSTER, EtlRouterCluster
from informers.apiserver.schema.bundle import resolved
from informers.cache.informer import Informer
from informers.client import Client
from informers.client.transport import HttpRequest, HttpResponse, HttpStream, Transport
from informers.objects import Object, ObjectKey, Resource
from informers.testing.simulation import Simulation, simulate
from informers.testing.transport import ApiServerTransport

MANAGER = "etl-operator/cluster"
KINDS = (CONFIG_MAP, SERVICE, SERVICE_ACCOUNT, DISRUPTION_BUDGET, STATEFUL_SET)
KEY = ObjectKey("default", "x")
OWNER: Object = {
    "apiVersion": CLUSTER.api_version,
    "kind": CLUSTER.kind,
    "metadata": {"namespace": "default", "name": "x", "uid": "00000000-0000-0000-0000-000000000001"},
}


def wanted(**spec: Any) -> list[tuple[Resource, Object]]:
    cluster = EtlRouterCluster.model_validate({**OWNER, "spec": spec})
    return [
        *children.desired(cluster, 3),
        (STATEFUL_SET, stateful_set(cluster, ControllerSettings(), 3)),
    ]


class Policy:
    """A transport behind which an admission policy rewrites what is applied, and counts it."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.applied = 0
        self.rewrite: Callable[[Object], None] = lambda _: None

    async def request(self, request: HttpRequest) -> HttpResponse:
        if request.method == "PATCH":
            self.applied += 1
            body = json.loads(request.body or b"{}")
            self.rewrite(body)
            request = replace(request, body=json.dumps(body).encode())
        return await self._transport.request(request)

    def stream(self, request: HttpRequest) -> AbstractAsyncContextManager[HttpStream]:
        return self._transport.stream(request)

    async def close(self) -> None:
        await self._transport.close()


@dataclass
class Scene:
    world: Simulation
    policy: Policy
    applier: Applier
    informers: Mapping[Resource, Informer]
    notes: list[str] = field(default_factory=list)

    async def ensure(self, *objects: tuple[Resource, Object]) -> list[Outcome]:
        """One pass; caches have followed what was written before."""
        await self.world.sleep(1)
        return [await self.applier.ensure(resource, obj, OWNER, CLUSTER) for resource, obj in objects]

    def edit(self, change: Callable[[Object], None], manager: str) -> None:
        def edited(obj: Object) -> Object:
            change(obj)
            return obj

        self.world.server.edit(STATEFUL_SET, KEY, edited, manager=manager)

    def live(self) -> Object:
        found = self.world.server.find(STATEFUL_SET, KEY)
        assert found is not None
        return found


def play(scene: Callable[[Scene], Awaitable[None]]) -> None:
    async def main(world: Simulation) -> None:
        manager = world.manager(detect_loops=False)
        informers = {resource: manager.informer(resource) for resource in KINDS}
        policy = Policy(ApiServerTransport(world.server, user="operator"))
        notes: list[str] = []
        applier = Applier(
            Client(policy, clock=world.clock),
            informers,
            MANAGER,
            clock=world.clock,
            overridden=lambda _, note: notes.append(note),
        )
        async with world.running(manager):
            await world.until(lambda: all(informer.synced for informer in informers.values()))
            await scene(Scene(world, policy, applier, informers, notes))

    simulate(main)


SPECS: list[dict[str, Any]] = [
    {},
    {"metrics": {"enabled": False}},
    {"env": [{"name": "EMPTY", "value": ""}]},
    {"tolerations": [{"operator": "Exists", "value": ""}]},
    {
        "env": [
            {
                "name": "M",
                "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1024Ki"}},
            }
        ]
    },
    {"resources": {"limits": {"cpu": "0.5", "memory": "1024Mi"}, "requests": {"cpu": "0.1"}}},
    {"nodeSelector": {"disk": ""}, "podLabels": {"tier": ""}, "podAnnotations": {"note": ""}},
    {
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "ScheduleAnyway"} for key in ("b", "a")
        ]
    },
]


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_what_is_in_place_is_not_sent_again(spec: dict[str, Any]) -> None:
    async def scene(one: Scene) -> None:
        objects = wanted(**spec)
        assert set(await one.ensure(*objects)) == {Outcome.CREATED}
        sent = one.policy.applied
        for _ in range(3):
            assert set(await one.ensure(*objects)) == {Outcome.UNCHANGED}
        assert one.policy.applied == sent
        assert one.notes == []
        # A fresh process knows nothing of it, and finds it in place all the same.
        assert not any(one.applier.pending(resource, obj, OWNER, CLUSTER) for resource, obj in objects)

    play(scene)


def add_port(obj: Object) -> None:
    port = {"name": "debug", "containerPort": 6060, "protocol": "TCP"}
    obj["spec"]["template"]["spec"]["containers"][0]["ports"].append(port)


def test_what_others_add_to_merged_lists_is_theirs() -> None:
    async def scene(one: Scene) -> None:
        objects = wanted()
        await one.ensure(*objects)
        one.edit(add_port, "injector")
        assert set(await one.ensure(*objects)) == {Outcome.UNCHANGED}
        changed = wanted(image="etl-router:next")
        assert Outcome.UPDATED in await one.ensure(*changed)
        container = one.live()["spec"]["template"]["spec"]["containers"][0]
        assert container["image"] == "etl-router:next"
        assert "debug" in [port["name"] for port in container["ports"]]

    play(scene)


def mirror(body: Object) -> None:
    for container in body["spec"].get("template", {}).get("spec", {}).get("containers") or ():
        container["image"] = f"mirror/{container['image']}"


def test_a_policy_that_rewrites_a_value_costs_one_report_and_holds_nothing_up() -> None:
    async def scene(one: Scene) -> None:
        one.policy.rewrite = mirror
        objects = wanted()[-1:]
        assert await one.ensure(*objects) == [Outcome.CREATED]
        sent = one.policy.applied
        for _ in range(5):
            assert await one.ensure(*objects) == [Outcome.UNCHANGED]
            # The status of a StatefulSet moves its version; that is no reason to ask again.
            one.edit(lambda obj: obj.setdefault("status", {}).update(replicas=one.policy.applied), "kcm")
            assert not one.applier.pending(*objects[0], OWNER, CLUSTER)
        assert one.policy.applied == sent
        (note,) = one.notes
        assert note == (
            "StatefulSet default/x: spec.template.spec.containers[router].image is "
            '"mirror/etl-router:latest" instead of "etl-router:latest", '
            "set by a policy or webhook of the API server"
        )
        assert await one.ensure(*wanted(image="etl-router:next")[-1:]) == [Outcome.UPDATED]
        assert one.live()["spec"]["template"]["spec"]["containers"][0]["image"] == "mirror/etl-router:next"
        assert len(one.notes) == 1

    play(scene)


def test_what_a_policy_did_once_is_drift_when_the_policy_is_gone() -> None:
    async def scene(one: Scene) -> None:
        before, objects = one.policy.rewrite, wanted()[-1:]
        one.policy.rewrite = mirror
        await one.ensure(*objects)
        one.policy.rewrite = before
        await one.ensure(*wanted(image="etl-router:next")[-1:])
        assert await one.ensure(*objects) == [Outcome.UPDATED]
        assert one.live()["spec"]["template"]["spec"]["containers"][0]["image"] == "etl-router:latest"
        one.edit(mirror, "somebody")
        assert await one.ensure(*objects) == [Outcome.UPDATED]
        assert one.live()["spec"]["template"]["spec"]["containers"][0]["image"] == "etl-router:latest"

    play(scene)


def test_a_value_that_is_rewritten_is_sent_once_by_a_fresh_process() -> None:
    async def scene(one: Scene) -> None:
        one.policy.rewrite = mirror
        objects = wanted()[-1:]
        await one.ensure(*objects)
        other = Applier(
            Client(one.policy, clock=one.world.clock),
            one.informers,
            MANAGER,
            clock=one.world.clock,
            overridden=lambda _, note: one.notes.append(note),
        )
        sent = one.policy.applied
        await one.world.sleep(1)
        for _ in range(3):
            # The version has not moved: the server itself says that nothing was to be done.
            assert await other.ensure(*objects[0], OWNER, CLUSTER) is Outcome.UNCHANGED
        assert one.policy.applied == sent + 1

    play(scene)


def scale(obj: Object) -> None:
    obj["spec"]["replicas"] = 7


def test_a_controller_that_changes_a_field_back_is_answered_less_and_less_often() -> None:
    async def scene(one: Scene) -> None:
        objects = wanted()[-1:]
        await one.ensure(*objects)
        sent, passes = one.policy.applied, 600
        for _ in range(passes):
            if one.live()["spec"]["replicas"] == 3:
                one.edit(scale, "autoscaler")
            await one.ensure(*objects)
        corrections = one.policy.applied - sent
        assert 3 < corrections < 12
        (note,) = one.notes
        assert note.startswith("StatefulSet default/x: spec.replicas is changed from 3 to 7 after every corr")
        # When the other one stops, the field is corrected, and stays so.
        await one.world.sleep(700)
        assert await one.ensure(*objects) == [Outcome.UPDATED]
        assert await one.ensure(*objects) == [Outcome.UNCHANGED]
        assert one.live()["spec"]["replicas"] == 3

    play(scene)


def test_a_field_that_somebody_changes_now_and_then_is_corrected_at_once() -> None:
    async def scene(one: Scene) -> None:
        objects = wanted()[-1:]
        await one.ensure(*objects)
        for _ in range(10):
            one.edit(scale, "kubectl")
            assert await one.ensure(*objects) == [Outcome.UPDATED]
            await one.world.sleep(3600)
        assert one.notes == []

    play(scene)


def test_an_owner_that_is_gone_is_forgotten() -> None:
    async def scene(one: Scene) -> None:
        one.policy.rewrite = mirror
        objects = wanted()[-1:]
        await one.ensure(*objects)
        assert not one.applier.pending(*objects[0], OWNER, CLUSTER)
        one.applier.forget(KEY)
        await one.world.sleep(1)
        assert one.applier.pending(*objects[0], OWNER, CLUSTER)

    play(scene)


# -- the tables of the comparison are those of the API --------------------------------------------------


def lists(schema: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str, tuple[str, ...]]]:
    """Every list of a schema: its path by field names, its type, its merge keys."""
    if schema.get("type") == "array":
        kind = schema.get("x-kubernetes-list-type", "atomic")
        yield path, kind, tuple(schema.get("x-kubernetes-list-map-keys", ()))
        yield from lists(schema["items"], path)
    for name, below in (schema.get("properties") or {}).items():
        if name not in ("status", "managedFields"):
            yield from lists(below, (*path, name))


SCHEMAS = {
    "StatefulSet": "io.k8s.api.apps.v1.StatefulSet",
    "Service": "io.k8s.api.core.v1.Service",
    "ServiceAccount": "io.k8s.api.core.v1.ServiceAccount",
    "ConfigMap": "io.k8s.api.core.v1.ConfigMap",
    "PodDisruptionBudget": "io.k8s.api.policy.v1.PodDisruptionBudget",
}


def test_merge_keys_are_those_of_the_servers_schema() -> None:
    seen = set()
    for kind, name in SCHEMAS.items():
        for path, how, keys in lists(resolved(name)):
            if (kind, path) == ("ServiceAccount", ("imagePullSecrets",)):
                # A whole list there, a merged one in pods. None is sent there.
                continue
            ours, theirs = (
                [{key: f"1{key}" for key in keys or ("name",)}],
                [{"name": "other", **dict.fromkeys(keys, 2)}],
            )
            merged = contains([*theirs, *ours], ours, path[-1])
            assert merged is (how == "map"), (kind, path)
            seen.add(path[-1])
    assert {"containers", "ports", "env", "tolerations", "volumes", "topologySpreadConstraints"} <= seen


VALUES = st.recursive(
    st.sampled_from(["", "a", "1Gi", "1024Mi", 0, 3, None, True]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["name", "env", "ports", "containerPort", "limits", "labels", "value", "divisor"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(VALUES, VALUES)
def test_differences_are_found_exactly_where_something_is_not_contained(observed: Any, desired: Any) -> None:
    found = list(differences(observed, desired))
    assert bool(found) is not contains(observed, desired)
    assert all(isinstance(one, Difference) for one in found)
    assert len({one.path for one in found}) == len(found)


@given(VALUES)
@example({"ports": [{"name": "", "containerPort": []}]})
def test_what_has_no_empty_texts_is_left_as_it_is(value: Any) -> None:
    once = without_empty_texts(value)
    assert without_empty_texts(once) == once
    assert contains(value, once)


def test_empty_texts_stay_where_they_are_values() -> None:
    kept = {"labels": {"a": ""}, "matchLabels": {"b": ""}, "data": {"c": ""}, "storageClassName": ""}
    assert without_empty_texts(kept) == kept
    assert without_empty_texts({"env": [{"name": "a", "value": ""}]}) == {"env": [{"name": "a"}]}


@pytest.mark.parametrize("order", list(itertools.permutations("abc")))
def test_the_order_of_merged_lists_does_not_matter(order: tuple[str, ...]) -> None:
    items = [{"name": name, "mountPath": f"/{name}"} for name in order]
    assert contains({"volumeMounts": items}, {"volumeMounts": sorted(items, key=str)})
