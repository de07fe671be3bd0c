"""One question for all who ask the same at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class UnderWay(Generic[K, T]):
    """Questions under way. Answers and errors go to those who wait, and to nobody after them."""

    def __init__(self) -> None:
        self._asked: dict[K, asyncio.Task[T]] = {}

    async def ask(self, key: K, question: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The answer.

        :param key: questions of the same key are the same.
        :param question: puts it; called only when it is not under way.
        """
        task = self._asked.get(key)
        if task is None:
            task = self._asked[key] = asyncio.get_running_loop().create_task(question())
            task.add_done_callback(lambda done: self._answered(key, done))
        # A caller that is cancelled must not take the answer away from the others.
        return await asyncio.shield(task)

    def _answered(self, key: K, task: asyncio.Task[T]) -> None:
        del self._asked[key]
        if not task.cancelled():
            # Everybody who asked may be gone by now; an error nobody takes would be complained about.
            task.exception()
