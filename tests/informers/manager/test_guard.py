"""How often the API server is asked about callers, and what it is told: in virtual time, on a double."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any, cast

from aiohttp import web

from informers import guard
from informers.access import AGAIN, Access, Preflight
from informers.client import Client, HttpRequest, HttpResponse, Transport
from informers.errors import TransportError
from informers.testing.clock import VirtualClock, run_virtual
from tests.informers.manager.operator import CONFIG_MAP

USER = {"username": "ann", "uid": "7", "groups": ["readers"], "extra": {"scopes": ["a"]}}


@dataclass
class Reviewer:
    """Answers reviews; a double of the transport."""

    users: dict[str, dict[str, Any]] = field(default_factory=dict)
    allowed: bool = True
    down: bool = False
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    async def request(self, request: HttpRequest) -> HttpResponse:
        await asyncio.sleep(0.1)
        body = json.loads(request.body or b"{}")
        self.asked.append((body["kind"], body["spec"]))
        if self.down:
            raise TransportError("refused")
        if body["kind"] == "TokenReview":
            user = self.users.get(body["spec"]["token"])
            status: dict[str, Any] = {"authenticated": user is not None, "user": user or {}}
        else:
            status = {"allowed": self.allowed}
        return HttpResponse(201, json.dumps({**body, "status": status}).encode())

    @property
    def client(self) -> Client:
        return Client(cast(Transport, self), clock=VirtualClock())


@dataclass
class Asked:
    """A request, as far as the guard looks at it."""

    headers: dict[str, str]
    path: str = "/metrics"
    method: str = "GET"


def page_of(reviewer: Reviewer) -> Any:
    async def page(_: web.Request) -> web.Response:
        return web.Response()

    return guard.Guard(reviewer.client, clock=VirtualClock()).guarded(page)


def bearer(token: str, path: str = "/metrics") -> Asked:
    return Asked({"Authorization": f"Bearer {token}"}, path)


def test_a_yes_is_remembered_for_a_minute_per_path() -> None:
    async def main() -> None:
        reviewer = Reviewer({"good": USER})
        page = page_of(reviewer)
        for _ in range(5):
            assert (await page(bearer("good"))).status == 200
        assert [kind for kind, _ in reviewer.asked] == ["TokenReview", "SubjectAccessReview"]
        assert reviewer.asked[1][1] == {
            "user": "ann",
            "uid": "7",
            "groups": ["readers"],
            "extra": {"scopes": ["a"]},
            "nonResourceAttributes": {"path": "/metrics", "verb": "get"},
        }
        assert (await page(bearer("good", "/debug/queues"))).status == 200
        assert len(reviewer.asked) == 4
        reviewer.allowed = False
        assert (await page(bearer("good"))).status == 200
        await asyncio.sleep(guard.ALLOWED_FOR)
        assert (await page(bearer("good"))).status == 403
        reviewer.allowed = True
        assert (await page(bearer("good"))).status == 403
        await asyncio.sleep(guard.DENIED_FOR)
        assert (await page(bearer("good"))).status == 200

    run_virtual(main())


def test_callers_that_come_together_ask_no_more_than_a_few_at_a_time() -> None:
    async def main() -> None:
        reviewer = Reviewer({"good": USER})
        page = page_of(reviewer)
        answers = await asyncio.gather(*(page(bearer("good")) for _ in range(50)))
        assert {answer.status for answer in answers} == {200}
        assert len(reviewer.asked) <= 2 * 4

    run_virtual(main())


def test_who_shows_no_token_is_not_asked_about() -> None:
    async def main() -> None:
        reviewer = Reviewer()
        page = page_of(reviewer)
        for headers in (
            {},
            {"Authorization": ""},
            {"Authorization": "Basic YTpi"},
            {"Authorization": "Bearer "},
            # What a header becomes that is no text.
            {"Authorization": "Bearer \udcff\udcfe"},
            {"Authorization": "Bearer ü"},
        ):
            answer = await page(Asked(headers))
            assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert reviewer.asked == []
        assert (await page(bearer("unknown"))).status == 401
        assert len(reviewer.asked) == 1

    run_virtual(main())


def test_what_could_not_be_asked_is_asked_again() -> None:
    async def main() -> None:
        reviewer = Reviewer({"good": USER}, down=True)
        page = page_of(reviewer)
        assert (await page(bearer("good"))).status == 503
        reviewer.down = False
        assert (await page(bearer("good"))).status == 200

    run_virtual(main())


def test_memory_is_bounded() -> None:
    async def main() -> None:
        reviewer = Reviewer()
        one = guard.Guard(reviewer.client, clock=VirtualClock())

        async def never(_: web.Request) -> web.Response:
            raise AssertionError("nobody is let in")

        page = cast(Any, one.guarded(never))
        for number in range(guard.CAPACITY + 50):
            await page(bearer(f"token-{number}"))
        assert len(one._answers) == guard.CAPACITY

    run_virtual(main())


def test_the_preflight_waits_for_a_server_and_asks_only_what_is_open() -> None:
    async def main() -> None:
        reviewer = Reviewer(down=True)
        preflight = Preflight(reviewer.client, [Access(CONFIG_MAP, ("list", "watch"))], clock=VirtualClock())
        running = asyncio.ensure_future(preflight.run())
        await asyncio.sleep(1)
        assert preflight.health() is None, "the caches say so already"
        reviewer.down, reviewer.allowed = False, False
        await asyncio.sleep(AGAIN)
        assert preflight.health() == "not allowed to list, watch configmaps in all namespaces"
        assert [right.verb for right in preflight.missing] == ["list", "watch"]
        reviewer.allowed = True
        await asyncio.wait_for(running, AGAIN + 1)
        assert preflight.health() is None
        assert len(reviewer.asked) == 6

    run_virtual(main())
