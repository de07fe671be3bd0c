"""Metrics and debug pages for those who may see them: real TLS, real tokens, a server that knows roles."""

from __future__ import annotations

import asyncio
import json
import random
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from etl_operator.sandbox.http.server import EmbeddedServer
from informers.apiserver.core import ApiServer
from informers.apiserver.faults import FaultRule
from informers.certificates import ServingCertificate
from informers.client import Client
from informers.clock import SystemClock
from informers.controller import Controller
from informers.errors import ConfigError, Forbidden
from informers.guard import from_this_machine
from informers.manager import Manager
from informers.metrics import Metrics
from informers.objects import ObjectKey, Result
from informers.testing.transport import ApiServerTransport
from tests.hanging import HANGS
from tests.informers.manager.operator import CONFIG_MAP, NAMESPACE
from tests.informers.manager.pairs import pair, write_pair
from tests.informers.manager.test_manager_http import get, running
from tests.sandbox.http.serving import client_of, serving

API = "rbac.authorization.k8s.io"
METRICS, DEBUG = "/metrics", "/debug/queues"


class Stuck:
    """Holds on to ``slow``, fails on ``broken``."""

    async def reconcile(self, key: ObjectKey) -> Result:
        if key.name == "slow":
            await asyncio.sleep(3600)
        if key.name == "broken":
            # Of a kind that rests for a second at least.
            raise Forbidden(403)
        return Result.after(1000)


def grant(server: EmbeddedServer, account: str, role: str, *rules: dict[str, Any]) -> None:
    """Make an account, and a ClusterRole of rules for it where the role does not exist yet."""
    name = {"namespace": NAMESPACE, "name": account}
    server.core.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": name})
    if rules:
        meta = {"name": role}
        server.core.create(
            {"apiVersion": f"{API}/v1", "kind": "ClusterRole", "metadata": meta, "rules": [*rules]}
        )
    if role:
        server.core.create(
            {
                "apiVersion": f"{API}/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": account},
                "roleRef": {"apiGroup": API, "kind": "ClusterRole", "name": role},
                "subjects": [{"kind": "ServiceAccount", **name}],
            }
        )


@dataclass
class Pages:
    """A manager that serves over TLS, and callers."""

    server: EmbeddedServer
    url: str
    directory: Path
    certificate: bytes

    async def get(self, path: str, account: str = "", token: str = "") -> tuple[int, str]:
        if account:
            config = self.server.kubeconfig_for(f"{NAMESPACE}/{account}")
            token = config["users"][0]["user"]["token"]
        context = ssl.create_default_context(cadata=self.certificate.decode())
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        connector = aiohttp.TCPConnector(ssl=context)
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get(self.url + path, headers=headers) as answer,
        ):
            status, text = answer.status, await answer.text()
        # The transports of TLS connections close a moment after their session.
        await asyncio.sleep(0.05)
        return status, text


@asynccontextmanager
async def pages(directory: Path) -> AsyncIterator[Pages]:
    certificate = write_pair(directory)
    async with serving() as server:
        grant(server, "operator", "system:auth-delegator")
        grant(server, "scraper", "scraper", {"nonResourceURLs": [METRICS], "verbs": ["get"]})
        grant(server, "nobody", "")
        async with client_of(server, directory, f"{NAMESPACE}/operator") as client:
            manager = Manager(
                client,
                clock=SystemClock(),
                metrics=Metrics(process=False),
                metrics_address="127.0.0.1:0",
                health_address="0",
                metrics_certificate=ServingCertificate(directory / "tls.crt", directory / "tls.key"),
                debug=True,
                rng=random.Random(0),
            )
            async with running(manager) as (url,):
                yield Pages(server, url.replace("http:", "https:"), directory, certificate)


async def test_only_who_may_gets_the_pages(tmp_path: Path) -> None:
    async with pages(tmp_path) as one:
        status, text = await one.get(METRICS, "scraper")
        assert (status, "informer_synced" in text) == (200, True)
        assert (await one.get(DEBUG, "scraper"))[0] == 403, "one path is not the other"
        assert (await one.get(METRICS, "nobody"))[0] == 403
        assert (await one.get(METRICS, token="made-up"))[0] == 401
        assert (await one.get(METRICS))[0] == 401


async def test_answers_are_remembered_and_questions_that_fail_are_not(tmp_path: Path) -> None:
    async with pages(tmp_path) as one:
        assert (await one.get(METRICS, "scraper"))[0] == 200
        # No more questions are answered: what is known still holds, the rest cannot be told.
        one.server.core.backend.remove(
            one.server.core.registry.of_kind(f"{API}/v1", "ClusterRoleBinding"),  # type: ignore[arg-type]
            ObjectKey("", "operator"),
        )
        assert (await one.get(METRICS, token="new"))[0] == 503


async def test_a_new_certificate_is_taken_up_and_half_a_pair_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("informers.certificates.PERIOD", 0.05)
    async with pages(tmp_path) as one:
        assert (await one.get(METRICS, "scraper"))[0] == 200
        certificate, key = pair()
        (tmp_path / "tls.crt").write_bytes(certificate)
        await asyncio.sleep(0.3)
        assert (await one.get(METRICS, "scraper"))[0] == 200, "the old pair is still in use"
        (tmp_path / "tls.key").write_bytes(key)
        one.certificate = certificate
        async with asyncio.timeout(HANGS):
            while True:
                try:
                    assert (await one.get(METRICS, "scraper"))[0] == 200
                except aiohttp.ClientConnectorCertificateError:
                    await asyncio.sleep(0.05)
                else:
                    break


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("rsa", [True, False])
async def test_a_new_pair_with_another_kind_of_key_replaces_the_old_one(
    rsa: bool, version: ssl.TLSVersion, tmp_path: Path
) -> None:
    def write(new: tuple[bytes, bytes]) -> None:
        (tmp_path / "tls.crt").write_bytes(new[0])
        (tmp_path / "tls.key").write_bytes(new[1])

    one = ServingCertificate(tmp_path / "tls.crt", tmp_path / "tls.key")
    write(pair(rsa=not rsa))
    one.load()
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=one.context)
    new = pair(rsa=rsa)
    write(new)
    assert one.load()
    client = ssl.create_default_context(cadata=new[0].decode())
    client.minimum_version = client.maximum_version = version
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname(), ssl=client)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    assert shown == ssl.PEM_cert_to_DER_cert(new[0].decode())
    writer.close()
    await writer.wait_closed()
    server.close()


def test_a_certificate_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    one = ServingCertificate(tmp_path / "tls.crt", tmp_path / "tls.key")
    with pytest.raises(ConfigError, match=r"tls\.crt: cannot read: No such file"):
        one.load()
    write_pair(tmp_path)
    assert one.load()
    assert not one.load()
    (tmp_path / "tls.key").write_bytes(pair()[1])
    with pytest.raises(ConfigError, match=r"tls\.key cannot be used as certificate and key"):
        one.load()


async def test_probes_and_protected_metrics_do_not_share_an_address(tmp_path: Path) -> None:
    write_pair(tmp_path)
    manager = plain(
        metrics_address="127.0.0.1:18099",
        health_address="127.0.0.1:18099",
        metrics_certificate=ServingCertificate(tmp_path / "tls.crt", tmp_path / "tls.key"),
    )
    with pytest.raises(ConfigError, match="need a separate address"):
        await manager.run()


def plain(**options: Any) -> Manager:
    core = ApiServer(SystemClock(), rng=random.Random(0))
    core.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    core.faults.add(FaultRule(resource="pods", status=403))
    clock = SystemClock()
    client = Client(ApiServerTransport(core), clock=clock)
    manager = Manager(client, clock=clock, metrics=Metrics(), rng=random.Random(0), **options)
    manager.informer(CONFIG_MAP)
    return manager


async def test_the_debug_page_says_what_is_in_the_queues_and_why() -> None:
    manager = plain(metrics_address="127.0.0.1:0", health_address="0", debug=True, grace=0.1)
    controller = Controller("stuck", Stuck(), workers=2)
    manager.add(controller)
    manager.informer(CONFIG_MAP, namespaces=[NAMESPACE], label_selector="a=b", metadata_only=True)
    async with running(manager) as (url,):
        async with asyncio.timeout(HANGS):
            while not controller.running():
                controller.enqueue(ObjectKey(NAMESPACE, "slow"), cause="a test")
                await asyncio.sleep(0.05)
        for name in ("broken", "fine"):
            controller.enqueue(ObjectKey(NAMESPACE, name), cause="a test")
        async with asyncio.timeout(HANGS):
            while controller.queue.statistics().waiting < 2:  # noqa: ASYNC110 (no event to wait for)
                await asyncio.sleep(0.05)
        status, text = await get(url + DEBUG)
        page = json.loads(text)["controllers"]["stuck"]
        assert status == 200
        (slow,) = page["running"]
        assert (slow["key"], slow["causes"], slow["reconcile"].endswith("-1")) == (
            "default/slow",
            ["a test"],
            True,
        )
        keys = {entry["key"]: entry for entry in page["keys"]}
        assert keys["default/broken"]["failures"] >= 1
        assert keys["default/broken"]["place"] == "waiting"
        assert keys["default/fine"]["causes"] == ["requeue"]
        assert -1000 <= keys["default/fine"]["seconds"] < -900
        shown = ("resource", "namespaces", "selector", "synced")
        assert [tuple(one[name] for name in shown) for one in json.loads(text)["informers"]] == [
            ("configmaps", [], "", True),
            ("configmaps", [NAMESPACE], "a=b metadata only", True),
        ]
        status, text = await get(url + DEBUG + "?controller=stuck&key=default/fine&limit=0")
        page = json.loads(text)["controllers"]["stuck"]
        assert (page["running"], page["keys"], page["more"]) == ([], [], 1)
        assert (await get(url + DEBUG + "?limit=all"))[0] == 400


async def test_without_metrics_the_debug_page_is_with_the_probes_without_a_token(
    tmp_path: Path,
) -> None:
    write_pair(tmp_path)
    certificate = ServingCertificate(tmp_path / "tls.crt", tmp_path / "tls.key")
    manager = plain(
        metrics_address="0", health_address="127.0.0.1:0", debug=True, metrics_certificate=certificate
    )
    async with running(manager) as (url,):
        assert (await get(url + DEBUG))[0] == 200
        assert (await get(url + METRICS))[0] == 404


async def test_pages_that_are_not_asked_for_are_not_there() -> None:
    async with running(plain(metrics_address="127.0.0.1:0", health_address="0")) as (url,):
        assert (await get(url + DEBUG))[0] == 404


@pytest.mark.parametrize(
    ("remote", "status"),
    [
        ("127.0.0.1", 200),
        ("::1", 200),
        ("::ffff:127.0.0.1", 200),
        ("10.0.0.1", 403),
        ("::ffff:10.0.0.1", 403),
        (None, 403),
    ],
)
async def test_an_unprotected_page_is_for_this_machine(remote: str | None, status: int) -> None:
    async def page(_: web.Request) -> web.Response:
        return web.Response()

    @dataclass
    class Asked:
        remote: str | None

    answer = await from_this_machine(page)(Asked(remote))  # type: ignore[arg-type]
    assert answer.status == status
