"""Keeping services registered with router nodes, and their leases alive."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from etl_operator.router.errors import RouterError
from etl_operator.router.link import PAUSE_LIMIT, Link, RegistryNode
from etl_operator.router.registration import Health, Registration, RegistrationState

__all__ = ["Health", "Registration", "RegistrationState", "RegistryKeeper"]

log = logging.getLogger(__name__)


class NodeSource(Protocol):
    """What the keeper needs of :class:`~etl_operator.router.client.RouterClients`."""

    def node(self, address: str) -> RegistryNode: ...

    def may_write(self) -> bool: ...


class RegistryKeeper:
    """Has every wanted service registered with every wanted node, for as long as :meth:`run` runs.

    One task per node address, however many services there are. A node that restarted has forgotten
    everything; it answers heartbeats accordingly, and is registered again.

    :param clients: where nodes come from.
    :param rng: for jitter.
    """

    def __init__(self, clients: NodeSource, *, rng: random.Random | None = None) -> None:
        self._clients = clients
        # Jitter needs no secrecy.
        self._rng = rng or random.Random()  # noqa: S311
        self._where: dict[str, tuple[str, ...]] = {}
        self._links: dict[str, Link] = {}
        self._group: asyncio.TaskGroup | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = asyncio.Event()
        self.on_change: Callable[[str], None] = _ignore
        """Called with the service id when :meth:`state` would show something it has not shown yet. Must not
        block or raise."""

    def want(
        self, registration: Registration, addresses: Iterable[str], health: Health | None = None
    ) -> None:
        """Have a service registered, like this, with exactly these nodes.

        Takes effect soon after; the same registration again costs nothing. Nodes no longer named are told to
        forget the service if they answer, and otherwise forget it when its lease runs out.

        :param health: goes along with the heartbeats, and is sent at once when it turns.
        """
        service = registration.service_id
        wanted = tuple(dict.fromkeys(addresses))
        before = self._where.pop(service, ())
        if wanted:
            self._where[service] = wanted
        for address in wanted:
            self._link(address).want(registration, health)
        for address in before:
            if address not in wanted:
                self._unwant(address, service)

    def dismiss(self, service: str) -> None:
        """Deregister a service from all nodes. If a node does not answer, the lease expires there."""
        for address in self._where.pop(service, ()):
            self._unwant(address, service)

    def forget(self, service: str) -> None:
        """Stop the heartbeats of a service without deregistering it; its lease expires."""
        for address in self._where.pop(service, ()):
            self._links[address].forget(service)
            self._tidy(address)

    def state(self, service: str) -> Mapping[str, RegistrationState]:
        """What is known of a service, by the addresses where it is wanted."""
        where = self._where.get(service, ())
        return {address: self._links[address].state(service) for address in where}

    async def drop(self, service: str) -> Mapping[str, Exception]:
        """Want the service nowhere and deregister it now, as far as nodes answer.

        Afterwards the keeper knows nothing of the service. Also works while :meth:`run` does not.

        :returns: the errors of nodes that could not be called, by address.
        :raises Exception: what the fence raises.
        """
        where = self._where.pop(service, ())
        links = [self._links[address] for address in where]
        outcomes = await asyncio.gather(*(link.release(service) for link in links), return_exceptions=True)
        failures: dict[str, Exception] = {}
        others: list[BaseException] = []
        for address, outcome in zip(where, outcomes, strict=True):
            if isinstance(outcome, RouterError):
                failures[address] = outcome
            elif outcome is not None:
                others.append(outcome)
            self._tidy(address)
        if others:
            raise others[0]
        return failures

    async def run(self) -> None:
        """Register and heartbeat until cancelled or closed.

        Registrations are left as they are at the end: the next operator, or this one started again, takes
        them over within their lease.
        """
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                for link in self._links.values():
                    self._start(link)
                await self._closed.wait()
            finally:
                self._group = None
            for task in self._tasks:
                task.cancel()

    async def close(self) -> None:
        """End :meth:`run`. Sends nothing."""
        self._closed.set()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _link(self, address: str) -> Link:
        link = self._links.get(address)
        if link is None:
            link = Link(address, self._clients.node(address), self._changed, self._rng)
            self._links[address] = link
            self._start(link)
        return link

    def _unwant(self, address: str, service: str) -> None:
        self._links[address].unwant(service)
        self._tidy(address)

    def _start(self, link: Link) -> None:
        if self._group is not None:
            task = self._group.create_task(self._serve(link), name=f"registrations at {link.address}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, link: Link) -> None:
        while not link.empty:
            try:
                await link.run()
            except Exception:
                # Behind a closed fence there is nothing to say, nor to do but wait for the end, or, when it
                # was a close call, for the fence to open again.
                if self._clients.may_write():
                    # A defect in one link must not end the others' leases.
                    log.exception("registrations at %s", link.address)
                await asyncio.sleep(PAUSE_LIMIT)
        # Nothing can have been wanted in between: the loop has not turned.
        del self._links[link.address]

    def _tidy(self, address: str) -> None:
        """Outside of :meth:`run` nobody else removes a link that has become empty."""
        link = self._links.get(address)
        if link is not None and link.empty and self._group is None:
            del self._links[address]

    def _changed(self, service: str) -> None:
        self.on_change(service)


def _ignore(service: str) -> None:
    """Nobody listens."""
