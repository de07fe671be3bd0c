"""Service account tokens of a pod: as the server gives them, and over a long time."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from etl_operator.sandbox.kubelet.tokens import AccountTokens
from informers.client import Client
from informers.clock import SystemClock
from informers.errors import NotFound, ServerError
from informers.objects import Object
from informers.testing.clock import VirtualClock, run_virtual
from tests.sandbox.http.serving import client_of, serving

SHORT: Object = {"path": "short", "expirationSeconds": 600}
VAULT: Object = {"path": "vault", "audience": "vault"}


def pod(*sources: Object, account: str = "default") -> Object:
    return {
        "metadata": {"name": "p", "namespace": "default", "uid": "u"},
        "spec": {
            "serviceAccountName": account,
            "volumes": [
                {"name": "t", "projected": {"sources": [{"serviceAccountToken": s} for s in sources]}}
            ],
        },
    }


async def test_the_server_knows_whose_token_it_is(tmp_path: Path) -> None:
    async with serving() as server, client_of(server, tmp_path) as client:
        tokens = AccountTokens(client, SystemClock(), pod(SHORT, VAULT))
        assert tokens.due_in() is None
        await tokens.renew()
        reviewed = {}
        for source in (SHORT, VAULT):
            spec = {"token": tokens.token(source), "audiences": [source.get("audience") or "other"]}
            path = "/apis/authentication.k8s.io/v1/tokenreviews"
            answer = await client.raw("POST", path, body={"kind": "TokenReview", "spec": spec})
            reviewed[source["path"]] = answer["status"].get("authenticated", False)
        assert reviewed == {"short": False, "vault": True}, "each is for its own audience"
        with pytest.raises(NotFound):
            await AccountTokens(client, SystemClock(), pod(SHORT, account="nobody")).renew()


class Counting:
    """Answers with a number for a token; fails while ``broken``."""

    def __init__(self) -> None:
        self.count = 0
        self.broken = False

    async def raw(self, method: str, path: str, *, body: Any) -> Object:
        assert path.endswith("/serviceaccounts/default/token")
        if self.broken:
            raise ServerError(500)
        self.count += 1
        return {"spec": body["spec"], "status": {"token": f"{self.count}"}}


def test_a_token_is_renewed_before_it_ends_and_kept_while_the_server_gives_none() -> None:
    async def life() -> None:
        server = Counting()
        tokens = AccountTokens(cast(Client, server), VirtualClock(), pod(SHORT, SHORT))
        await tokens.renew()
        await tokens.renew()
        assert tokens.token(SHORT) == "1"
        assert tokens.due_in() == 480
        await asyncio.sleep(480)
        server.broken = True
        with pytest.raises(ServerError):
            await tokens.renew()
        assert tokens.token(SHORT) == "1"
        assert tokens.due_in() == 1, "soon, but not at once"
        server.broken = False
        await tokens.renew()
        assert tokens.token(SHORT) == "2"

    run_virtual(life())
