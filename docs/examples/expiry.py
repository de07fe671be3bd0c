"""Deletes ConfigMaps after the number of seconds in their annotation ``example.com/ttl``."""

import asyncio
from datetime import datetime

from informers.access import Access
from informers.client import Client, HttpTransport, load_default
from informers.clock import SystemClock
from informers.controller import Controller
from informers.errors import NotFound, Terminal
from informers.logs import configure_logging
from informers.manager import Manager
from informers.metrics import MeasuredTransport, Metrics
from informers.objects import ObjectKey, Resource, Result
from informers.signals import run_until_signal

CONFIG_MAP = Resource("", "v1", "configmaps", "ConfigMap")
TTL = "example.com/ttl"


class Expiry:
    def __init__(self, manager: Manager) -> None:
        self.manager = manager
        self.maps = manager.informer(CONFIG_MAP)

    async def reconcile(self, key: ObjectKey) -> Result:
        view = self.maps.get(key)
        if view is None or view.deleting or TTL not in view.annotations:
            return Result.done()
        try:
            age = self.manager.clock.time() - datetime.fromisoformat(view.creation_timestamp).timestamp()
            left = int(view.annotations[TTL]) - age
        except ValueError as error:
            raise Terminal(f"{TTL}: {error}") from error  # until a user corrects it
        if left > 0:
            return Result.after(left)
        try:
            await self.manager.client.delete(CONFIG_MAP, key, uid=view.uid)
        except NotFound:
            return Result.done()
        note = f"lived for {view.annotations[TTL]} s"
        self.manager.events.event(view.object(), type="Normal", reason="Expired", action="Delete", note=note)
        return Result.done()


def setup(manager: Manager) -> None:
    expiry = Expiry(manager)
    controller = Controller("expiry", expiry, access=[Access(CONFIG_MAP, ("delete",))])
    controller.watches(expiry.maps)
    manager.add(controller)


async def main() -> None:
    clock = SystemClock()
    metrics = Metrics()
    client = Client(MeasuredTransport(HttpTransport(load_default()), metrics, clock), clock=clock)
    manager = Manager(
        client,
        clock=clock,
        metrics=metrics,
        name="expiry",
        metrics_address="0",
        health_address="0",
        preflight=True,
    )
    setup(manager)
    try:
        await run_until_signal(manager.run())
    finally:
        await client.close()


if __name__ == "__main__":
    configure_logging()
    asyncio.run(main())
