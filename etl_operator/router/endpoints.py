"""Answers about service endpoints, shared for a moment: many pipelines ask about the same few services."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeAlias

from etl_operator.router.pb import registry_pb2

Answer: TypeAlias = Sequence[registry_pb2.EndpointInfo]


def host_port(host: str, port: int) -> str:
    """``host:port``; an IPv6 address gets the brackets that keep it apart from the port."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Endpoints:
    """What nodes answered lately, by address and service name.

    One question serves everybody who asks within ``age`` seconds of it, also while it is under way. Errors go
    to those who wait, and to nobody after them.

    :param age: seconds.
    """

    def __init__(self, age: float) -> None:
        self._age = age
        self._asked: dict[str, dict[str, asyncio.Task[Answer]]] = {}

    async def of(self, address: str, service: str, ask: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
        """The answer of one node about one service.

        :param ask: puts the question; called only when there is none to share.
        """
        task = self._asked.get(address, {}).get(service)
        if task is None:
            task = self._ask(address, service, ask)
        # A caller that is cancelled must not take the answer away from the others.
        return task.result() if task.done() else await asyncio.shield(task)

    def forget(self, address: str) -> None:
        """The node's registry changes: whoever asks from now on puts a question of their own."""
        self._asked.pop(address, None)

    def _ask(
        self, address: str, service: str, ask: Callable[[], Coroutine[Any, Any, Answer]]
    ) -> asyncio.Task[Answer]:
        loop = asyncio.get_running_loop()
        task = loop.create_task(ask())
        self._asked.setdefault(address, {})[service] = task
        loop.call_later(self._age, self._drop, address, service, task)

        def answered(done: asyncio.Task[Answer]) -> None:
            # Everybody who asked may be gone by now; an error nobody takes would be complained about.
            if done.cancelled() or done.exception() is not None:
                self._drop(address, service, done)

        task.add_done_callback(answered)
        return task

    def _drop(self, address: str, service: str, task: asyncio.Task[Answer]) -> None:
        known = self._asked.get(address, {})
        # After forget, another question may have taken its place.
        if known.get(service) is task:
            del known[service]
            if not known:
                del self._asked[address]
