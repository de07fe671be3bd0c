"""Questions under way, and who shares them. In virtual time."""

from __future__ import annotations

import asyncio

import pytest

from etl_operator.router.sharing import UnderWay
from informers.testing.clock import run_virtual


class Asked:
    """A question that takes a second, and how often it was put."""

    def __init__(self, error: Exception | None = None) -> None:
        self.count = 0
        self._error = error

    async def __call__(self) -> int:
        self.count += 1
        await asyncio.sleep(1.0)
        if self._error is not None:
            raise self._error
        return self.count


def test_all_who_ask_while_it_is_under_way_share_it_and_who_comes_later_asks_anew() -> None:
    async def scenario() -> None:
        shared: UnderWay[str, int] = UnderWay()
        ask, other = Asked(), Asked()
        first = asyncio.ensure_future(shared.ask("a", ask))
        await asyncio.sleep(0.5)
        answers = await asyncio.gather(shared.ask("a", ask), shared.ask("b", other), first)
        assert set(answers) == {1}
        assert (ask.count, other.count) == (1, 1)
        assert await shared.ask("a", ask) == 2

    run_virtual(scenario())


def test_an_error_is_for_all_who_wait_and_for_nobody_after_them() -> None:
    async def scenario() -> None:
        shared: UnderWay[str, int] = UnderWay()
        errors = await asyncio.gather(
            *(shared.ask("a", Asked(ValueError("no"))) for _ in range(3)), return_exceptions=True
        )
        assert [str(error) for error in errors] == ["no"] * 3
        assert await shared.ask("a", Asked()) == 1

    run_virtual(scenario())


def test_one_who_gives_up_does_not_take_the_answer_away() -> None:
    async def scenario() -> None:
        shared: UnderWay[str, int] = UnderWay()
        ask = Asked()
        first = asyncio.ensure_future(shared.ask("a", ask))
        await asyncio.sleep(0.2)
        second = asyncio.ensure_future(shared.ask("a", ask))
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert await second == 1

    run_virtual(scenario())
