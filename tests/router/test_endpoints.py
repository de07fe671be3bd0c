"""One question about a service's endpoints for all who ask within a moment."""

from __future__ import annotations

import asyncio

import pytest

from etl_operator.router.client import RouterClients
from etl_operator.router.endpoints import Answer, Endpoints
from etl_operator.router.errors import Unreachable
from etl_operator.router.pb import registry_pb2
from etl_operator.router.registration import Registration
from informers.testing.clock import run_virtual
from tests.router.conftest import Start

AGE = 2.0


class Asked:
    """Answers with the number of the question, after a second."""

    def __init__(self) -> None:
        self.times = 0
        self.error: Exception | None = None

    async def __call__(self) -> Answer:
        self.times += 1
        number = self.times
        await asyncio.sleep(1)
        if self.error is not None:
            raise self.error
        return [registry_pb2.EndpointInfo(service_id=str(number))]


async def number(endpoints: Endpoints, ask: Asked, service: str = "users", address: str = "a:1") -> int:
    (found,) = await endpoints.of(address, service, ask)
    return int(found.service_id)


def test_all_who_ask_at_once_share_one_question_and_so_do_those_who_ask_soon_after() -> None:
    async def scenario() -> list[int]:
        endpoints, ask = Endpoints(AGE), Asked()
        found = await asyncio.gather(*(number(endpoints, ask) for _ in range(3)))
        # The answer is as old as its question, which was put a second ago.
        await asyncio.sleep(0.9)
        found.append(await number(endpoints, ask))
        await asyncio.sleep(0.2)
        return [*found, await number(endpoints, ask)]

    assert run_virtual(scenario()) == [1, 1, 1, 1, 2]


def test_other_services_and_other_nodes_are_other_questions() -> None:
    async def scenario() -> list[int]:
        endpoints, ask = Endpoints(AGE), Asked()
        return [
            await number(endpoints, ask),
            await number(endpoints, ask, service="filter"),
            await number(endpoints, ask, address="b:1"),
        ]

    assert run_virtual(scenario()) == [1, 2, 3]


def test_a_changed_registry_is_asked_anew_even_while_a_question_is_under_way() -> None:
    async def scenario() -> tuple[list[int], int]:
        endpoints, ask = Endpoints(AGE), Asked()
        early = asyncio.create_task(number(endpoints, ask))
        await asyncio.sleep(0.5)
        endpoints.forget("a:1")
        late = asyncio.create_task(number(endpoints, ask))
        # The first answer and its end of life must not push out the second, which is younger.
        await asyncio.sleep(AGE - 0.4)
        return [await early, await late, await number(endpoints, ask)], ask.times

    assert run_virtual(scenario()) == ([1, 2, 2], 2)


def test_an_error_is_for_those_who_wait_only() -> None:
    async def scenario() -> tuple[list[bool], int]:
        endpoints, ask = Endpoints(AGE), Asked()
        ask.error = Unreachable("gone", address="a:1")
        waiting = (number(endpoints, ask) for _ in range(2))
        failed = [
            isinstance(one, Unreachable) for one in await asyncio.gather(*waiting, return_exceptions=True)
        ]
        ask.error = None
        return failed, await number(endpoints, ask)

    assert run_virtual(scenario()) == ([True, True], 2)


def test_one_who_gives_up_does_not_take_the_answer_away() -> None:
    async def scenario() -> int:
        endpoints, ask = Endpoints(AGE), Asked()
        impatient = asyncio.create_task(number(endpoints, ask))
        patient = asyncio.create_task(number(endpoints, ask))
        await asyncio.sleep(0.5)
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient
        return await patient

    assert run_virtual(scenario()) == 1


async def test_what_these_clients_change_shows_at_once(start: Start) -> None:
    router = await start()
    clients = RouterClients(endpoints_age=3600.0)
    node = clients.node(router.address)

    async def hosts() -> list[str]:
        return [one.endpoint.host for one in await node.get_service_endpoints("users")]

    try:
        assert await hosts() == []
        await node.register(Registration("etl/users", 1, "users", "old", 1))
        assert await hosts() == ["old"]
        await node.register(Registration("etl/users", 1, "users", "new", 1))
        assert await hosts() == ["new"]
        assert await hosts() == ["new"]
        await node.deregister("etl/users")
        assert await hosts() == []
    finally:
        await clients.close()
    assert router.calls.count("GetServiceEndpoints") == 4
