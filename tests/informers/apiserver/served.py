"""A small server to ask in tests: virtual time, a seed, one namespace, and requests as one call."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

from informers.apiserver.core import ApiServer
from informers.apiserver.reading.watching import Watch, WatchEvent, WatchOutcome
from informers.apiserver.requests.calls import Call, ListOutcome, ObjectOutcome
from informers.apiserver.requests.routes import parse
from informers.apiserver.rest import handle
from informers.objects import Object
from informers.testing.clock import VirtualClock, run_virtual

NAMESPACE = "shop"
MAPS = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
CARTS = f"/apis/shop.example.com/v1/namespaces/{NAMESPACE}/carts"
MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"


class Served:
    """A server and the calls tests make to it.

    :param history: events remembered per resource.
    """

    def __init__(self, history: int = 1_000) -> None:
        self.core = ApiServer(VirtualClock(), rng=random.Random(11), history=history)
        self.core.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})

    def ask(self, method: str, path: str, body: Any = None, kind: str = MERGE, /, **query: Any) -> Any:
        """Any request; parameters as keywords, ``continue_`` for the one Python keeps for itself."""
        found = {name.rstrip("_"): _text(value) for name, value in query.items()}
        info = parse(self.core.registry, method, path, found)
        return handle(self.core, Call(info, body, kind, "tester", "test/1"))

    def obj(self, method: str, path: str, body: Any = None, kind: str = MERGE, /, **query: Any) -> Object:
        """A request that is answered with one object."""
        outcome = self.ask(method, path, body, kind, **query)
        assert isinstance(outcome, ObjectOutcome)
        return outcome.obj

    def page(self, path: str, **query: Any) -> ListOutcome:
        """A list."""
        outcome = self.ask("GET", path, **query)
        assert isinstance(outcome, ListOutcome)
        return outcome

    def names(self, path: str, **query: Any) -> list[str]:
        """The names in a list."""
        return [one.key.name for one in self.page(path, **query).items]

    def watch(self, path: str, **query: Any) -> Watch:
        """A watch; whoever asks closes it, or the loop's end does."""
        outcome = self.ask("GET", path, watch=True, **query)
        assert isinstance(outcome, WatchOutcome)
        return outcome.watch

    def map(self, name: str, data: Object | None = None, **metadata: Any) -> Object:
        """Create a ConfigMap."""
        return self.obj("POST", MAPS, {"metadata": {"name": name, **metadata}, "data": data or {}})

    @property
    def revision(self) -> int:
        """The store's revision."""
        return self.core.store.revision


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def cart_definition(**changes: Any) -> Object:
    """A small custom kind; ``changes`` replace parts of its spec."""
    spec_schema = {"type": "object", "properties": {"items": {"type": "integer", "minimum": 0}}}
    status_schema = {"type": "object", "properties": {"total": {"type": "integer"}}}
    schema = {"type": "object", "properties": {"spec": spec_schema, "status": status_schema}}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": schema},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "carts.shop.example.com"},
        "spec": {
            "group": "shop.example.com",
            "scope": "Namespaced",
            "names": {"plural": "carts", "kind": "Cart"},
            "versions": [version],
            **changes,
        },
    }


def cart(name: str, **parts: Any) -> Object:
    """A custom object."""
    metadata = {"name": name, **parts.pop("metadata", {})}
    return {"apiVersion": "shop.example.com/v1", "kind": "Cart", "metadata": metadata, **parts}


def serving(
    test: Callable[[Served], Coroutine[Any, Any, None]], *, history: int = 1_000, carts: bool = False
) -> None:
    """Run a test against a new server whose controllers run, in virtual time.

    :param carts: define the custom kind first, and wait until it is served.
    """

    async def main() -> None:
        served = Served(history)
        running = asyncio.create_task(served.core.run())
        try:
            if carts:
                served.ask("POST", DEFINITIONS, cart_definition())
                await asyncio.sleep(5)
            await test(served)
        finally:
            running.cancel()

    run_virtual(main())


async def events(watch: Watch, count: int) -> list[WatchEvent]:
    """The next events of a watch that must still be open for them."""
    return [await anext(watch) for _ in range(count)]


async def told(watch: Watch, count: int) -> list[tuple[str, str]]:
    """The next events as (kind, name)."""
    return [(one.kind, one.stored.key.name if one.stored else "") for one in await events(watch, count)]


async def rest(watch: Watch) -> list[WatchEvent]:
    """Everything until the stream ends."""
    return [one async for one in watch]
