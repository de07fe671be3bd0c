"""Runs a StatefulSet for every Website, a custom resource. It uses server-side apply, a status, an input
gate and leader election. The CustomResourceDefinition is in websites.yaml."""

import argparse
import asyncio
from typing import Any

from pydantic import BaseModel

from informers.access import Access
from informers.client import Client, HttpTransport, load_default
from informers.clock import SystemClock, timestamp
from informers.conditions import get_condition, set_condition
from informers.controller import Controller, Gate, owner_mapper, predicates
from informers.controller.ownership import owner_reference
from informers.leader import LeaderElector
from informers.logs import configure_logging
from informers.manager import Manager
from informers.metrics import MeasuredTransport, Metrics
from informers.objects import Object, ObjectKey, Resource, Result
from informers.signals import run_until_signal
from informers.views.typed import read_spec, read_status
from informers.views.view import View

WEBSITE = Resource("example.com", "v1", "websites", "Website")
STATEFUL_SET = Resource("apps", "v1", "statefulsets", "StatefulSet")
NAME = "websites"


class WebsiteSpec(BaseModel):
    image: str
    replicas: int = 1


class Status(BaseModel):
    """Status of a Website; also reads the replica count from the status of a StatefulSet."""

    readyReplicas: int = 0
    conditions: list[dict[str, Any]] = []


class Websites:
    def __init__(self, manager: Manager, gate: Gate, *namespaces: str) -> None:
        self.client, self.clock, self.events = manager.client, manager.clock, manager.events
        # Objects read through the gate are inputs: without a change of an input, the reconcile is skipped.
        self.websites = gate.reads(manager.informer(WEBSITE, namespaces=namespaces))
        self.sets = gate.reads(manager.informer(STATEFUL_SET, namespaces=namespaces))

    async def reconcile(self, key: ObjectKey) -> Result:
        website = self.websites.get(key)
        if website is None or website.deleting:
            return Result.done()  # the garbage collector deletes its children
        wanted = stateful_set(website, read_spec(website, WebsiteSpec))
        stored = await self.client.apply(STATEFUL_SET, wanted, field_manager=NAME, force=True)
        self.sets.written(stored)  # reads return this version until the watch delivers it
        child = self.sets.get(key)
        ready = read_status(child, Status) if child is not None else None
        await self.report(website, (ready or Status()).readyReplicas, wanted["spec"]["replicas"])
        return Result.done()

    async def report(self, website: View, ready: int, wanted: int) -> None:
        before = read_status(website, Status) or Status()
        state, reason = ("True", "AllReady") if ready >= wanted else ("False", "Starting")
        note = f"{ready} of {wanted} replicas are ready"
        now, generation = timestamp(self.clock.time()), website.generation
        conditions = set_condition(before.conditions, "Ready", state, reason, note, generation, now)
        after = Status(readyReplicas=ready, conditions=conditions)
        if after == before:
            return
        body = {**header(WEBSITE, website), "status": after.model_dump()}
        self.websites.written(await self.client.update_status(WEBSITE, body, field_manager=NAME))
        known = get_condition(before.conditions, "Ready")
        if known is None or known["status"] != state:
            self.events.event(website.object(), type="Normal", reason=reason, action="Reconcile", note=note)


def header(resource: Resource, like: View) -> Object:
    metadata = {"namespace": like.namespace, "name": like.name}
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}


def stateful_set(website: View, spec: WebsiteSpec) -> Object:
    labels = {"website": website.name}
    wanted = header(STATEFUL_SET, website)
    wanted["metadata"]["ownerReferences"] = [owner_reference(website.object(), WEBSITE)]
    wanted["spec"] = {
        "replicas": spec.replicas,
        "serviceName": website.name,
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": "web", "image": spec.image}]},
        },
    }
    return wanted


def setup(manager: Manager, *namespaces: str) -> None:
    gate = Gate()
    websites = Websites(manager, gate, *namespaces)
    access = [
        Access(STATEFUL_SET, ("create", "patch"), namespaces),
        Access(WEBSITE, ("patch",), namespaces, subresource="status"),
    ]
    controller = Controller(NAME, websites, gate=gate, access=access)
    controller.watches(websites.websites, predicate=predicates.spec_changed)
    controller.watches(websites.sets, mapper=owner_mapper(WEBSITE))
    manager.add(controller)


async def main(identity: str, *namespaces: str) -> None:
    clock, metrics = SystemClock(), Metrics()
    access = load_default()
    transport = MeasuredTransport(HttpTransport(access), metrics, clock)
    # The elector's client has no fence, because the fence depends on the elector.
    leader = LeaderElector(Client(transport), access.namespace, NAME, identity, clock=clock)
    client = Client(transport, clock=clock, fence=leader.fence)
    manager = Manager(
        client,
        clock=clock,
        metrics=metrics,
        leader=leader,
        name=NAME,
        metrics_address="0",
        health_address="0",
    )
    setup(manager, *namespaces)
    try:
        await run_until_signal(manager.run())
    finally:
        await client.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--identity", required=True, help="unlike that of every other process")
    parser.add_argument("--namespace", action="append", default=[], help="where; everywhere by default")
    options = parser.parse_args()
    configure_logging()
    asyncio.run(main(options.identity, *options.namespace))
