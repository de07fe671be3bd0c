"""The operator's last act: objects whose kind is being deleted must not wait for an operator that is gone.

``kubectl delete -k config/default`` deletes the definitions and the operator in one go. Objects that still
hold a finalizer when the operator ends would keep their definitions from going until one is installed again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress

from controllers.finalizing.endings import Endings
from controllers.wiring.context import Context
from informers.controller.finalizer import remove_finalizer
from informers.errors import ApiError, Fenced, TransportError
from informers.objects import Resource
from informers.views.view import View

log = logging.getLogger(__name__)

_SECONDS = 10.0
"""Kubernetes gives the process 30 s, of which running reconciles may take 20."""
_AT_ONCE = 20


class Farewell:
    """Takes off the finalizers of all objects whose definition is being deleted, when the operator ends.

    :param finalizers: by kind: the finalizer, and the field manager that put it there.
    """

    def __init__(self, context: Context, finalizers: Mapping[Resource, tuple[str, str]]) -> None:
        self._context = context
        self._finalizers = finalizers

    async def run(self) -> None:
        """Wait for the end, which is a cancellation, and act then."""
        try:
            await asyncio.Event().wait()
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(_SECONDS):
                    await self.let_go()

    async def let_go(self) -> None:
        """Take the finalizers off, as far as the server lets us."""
        endings = Endings(self._context.client, self._context.clock)
        for resource, (finalizer, manager) in self._finalizers.items():
            try:
                goes = await endings.definition_goes(resource)
            except (ApiError, TransportError):
                continue
            if goes:
                held = [v for v in self._context.informers[resource].list() if finalizer in v.finalizers]
                await self._release(resource, held, finalizer, manager)

    async def _release(self, resource: Resource, views: Sequence[View], finalizer: str, manager: str) -> None:
        turn = asyncio.Semaphore(_AT_ONCE)

        async def release(view: View) -> None:
            async with turn:
                with suppress(ApiError, TransportError, Fenced):
                    await remove_finalizer(
                        self._context.client, resource, view.object(), finalizer, field_manager=manager
                    )

        await asyncio.gather(*(release(view) for view in views))
        if views:
            log.info(
                "removed the finalizers of objects whose CRD is being deleted: %s %s",
                len(views),
                resource.kind,
            )
