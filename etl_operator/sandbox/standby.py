"""The operator of the sandbox runs only while no Deployment runs another one."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

from etl_operator.sandbox.kubelet import OPERATOR_IMAGE, ImageTable
from etl_operator.sandbox.loops.kinds import DEPLOYMENT
from informers.cache.informer import Delta, Informer
from informers.client import Client
from informers.clock import SystemClock
from informers.objects import Object

_IMAGES = ImageTable.default()


class AnotherOperator:
    """Looks for Deployments whose pods run the operator's image.

    A lease is not enough to keep two operators apart: an installation in another namespace has another lease.

    :param client: may list and watch Deployments everywhere.
    """

    def __init__(self, client: Client) -> None:
        self._deployments = Informer(
            client,
            DEPLOYMENT,
            clock=SystemClock(),
            rng=random.Random(),  # noqa: S311 - spreads load, hides nothing
        )
        self._changed = asyncio.Event()

    async def run_unless_there(
        self, run: Callable[[], Coroutine[Any, Any, None]], say: Callable[[str], None]
    ) -> None:
        """Run the sandbox's own operator whenever there is no other, until cancelled.

        :param run: runs it until cancelled; then it gives its lease back and ends.
        :param say: a line for the person watching.
        """

        def on_change(_: Delta) -> None:
            self._changed.set()

        async with asyncio.TaskGroup() as group:
            group.create_task(self._deployments.run())
            await self._deployments.wait_synced()
            self._deployments.add_handler(on_change)
            while True:
                await self._until(lambda: not self._found())
                own = group.create_task(run())
                try:
                    await self._until(lambda: bool(self._found()))
                finally:
                    own.cancel()
                    await asyncio.gather(own, return_exceptions=True)
                other = self._found() or "a Deployment"
                say(f"{other} runs an operator; the operator of the sandbox is stopped")
                await self._until(lambda: not self._found())
                say("no Deployment runs an operator any more; starting the operator of the sandbox again")

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            await self._changed.wait()
            self._changed.clear()

    def _found(self) -> str:
        """Name of a Deployment that runs an operator; "" without one."""
        for view in self._deployments.list():
            if not view.deleting and runs_operator(view.object()):
                return f"Deployment {view.key}"
        return ""


def runs_operator(deployment: Object) -> bool:
    """Whether a Deployment has pods with the operator's image."""
    spec = deployment["spec"]
    containers = spec["template"]["spec"].get("containers") or ()
    images = (_IMAGES.find(str(one.get("image") or "")) for one in containers)
    return bool(spec.get("replicas", 1)) and any(
        image is not None and image.pattern == OPERATOR_IMAGE for image in images
    )
