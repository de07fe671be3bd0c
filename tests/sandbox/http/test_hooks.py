"""Fault rules and the journal of writes, over HTTP and from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import pytest

from etl_operator.sandbox.http.hooks import fault_rule, fault_rules
from informers.apiserver.faults import FaultRule
from informers.errors import ServerError, TransportError
from informers.objects import ObjectKey
from tests.sandbox.http.serving import CONFIG_MAP, browsing, client_of, serving

MAPS = "/api/v1/namespaces/default/configmaps"


def body(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "default"}}


async def test_a_rule_refuses_as_often_as_it_says(tmp_path: Path) -> None:
    async with serving() as server, client_of(server, tmp_path) as client:
        server.core.faults.add(FaultRule(verb="create", resource="configmaps", status=500, times=2))
        for _ in range(2):
            with pytest.raises(ServerError, match="made to fail with 500"):
                await client.create(CONFIG_MAP, body("a"))
        assert (await client.create(CONFIG_MAP, body("a")))["metadata"]["uid"]


@pytest.mark.parametrize(("cut", "there"), [("before", False), ("after", True)])
async def test_a_cut_connection_gives_no_answer_at_all(tmp_path: Path, cut: Any, there: bool) -> None:
    async with serving() as server, browsing(server) as http, client_of(server, tmp_path) as client:
        server.core.faults.add(FaultRule(verb="create", cut=cut, times=1))
        with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
            await http.post(MAPS, json=body("a"))
        found = await client.list(CONFIG_MAP, namespace="default", field_selector="metadata.name=a")
        assert bool(found.items) is there
        server.core.faults.add(FaultRule(verb="patch", cut=cut, times=2))
        with pytest.raises(TransportError):
            await client.patch(CONFIG_MAP, ObjectKey("default", "a"), {"data": {"x": "1"}})


async def test_rules_are_posted_read_and_taken_back(tmp_path: Path) -> None:
    async with serving() as server, browsing(server) as http:
        async with http.post(
            "/sandbox/faults", json=[{"verb": "get", "status": 503, "retry_after": 7}]
        ) as answer:
            assert answer.status == 200
        async with http.get(f"{MAPS}/a") as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "7")
        async with http.get("/sandbox/faults") as answer:
            (rule,) = (await answer.json())["faults"]
            assert (rule["verb"], rule["hits"]) == ("get", 1)
        async with http.delete("/sandbox/faults") as answer:
            assert (await answer.json()) == {"faults": []}
        async with http.get(f"{MAPS}/a") as answer:
            assert answer.status == 404


async def test_the_journal_says_who_wrote_what(tmp_path: Path) -> None:
    async with serving() as server, browsing(server) as http, client_of(server, tmp_path) as client:
        before = await (await http.get("/sandbox/writes")).json()
        await client.create(CONFIG_MAP, body("a"), field_manager="tester")
        await client.apply(
            CONFIG_MAP, {"apiVersion": "v1", "kind": "ConfigMap", **body("a")}, field_manager="t"
        )
        revision = before["revision"]
        after = await (await http.get("/sandbox/writes", params={"since": str(revision)})).json()
        told = [(one["verb"], one["resource"], one["name"], one["manager"]) for one in after["writes"]]
        assert told == [("create", "configmaps", "a", "tester")]
        empty = await (await http.get("/sandbox/writes", params={"since": str(after["revision"])})).json()
        assert empty["writes"] == []


@pytest.mark.parametrize(
    ("method", "path", "sent", "code"),
    [
        ("GET", "/sandbox/other", None, 404),
        ("POST", "/sandbox/writes", {}, 405),
        ("PUT", "/sandbox/faults", {}, 405),
        ("GET", "/sandbox/writes?since=x", None, 400),
        ("GET", "/sandbox/writes?until=3", None, 400),
        ("POST", "/sandbox/faults", {"verb": "get"}, 400),
        ("POST", "/sandbox/faults", {"status": 500, "odd": 1}, 400),
        ("POST", "/sandbox/faults", "status", 400),
    ],
)
async def test_what_makes_no_sense_is_refused(method: str, path: str, sent: Any, code: int) -> None:
    async with serving() as server, browsing(server) as http:
        async with http.request(method, path, json=sent) as answer:
            assert answer.status == code, await answer.text()
        assert not server.core.faults.rules


async def test_only_those_who_may_do_everything_get_at_the_hooks(tmp_path: Path) -> None:
    async with serving() as server:
        server.core.create(
            {
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": "plain", "namespace": "default"},
            }
        )
        token = server.kubeconfig_for("default/plain")["users"][0]["user"]["token"]
        async with browsing(server, token) as http:
            for method, path in (("GET", "/sandbox/writes"), ("POST", "/sandbox/faults")):
                async with http.request(method, path, json={"status": 500}) as answer:
                    assert answer.status == 403
    assert not server.core.faults.rules


def test_rules_on_the_command_line(tmp_path: Path) -> None:
    (rule,) = fault_rules("verb=update, resource=leases,status=500,times=3,probability=0.5")
    assert rule == FaultRule(verb="update", resource="leases", status=500, times=3, probability=0.5)
    path = tmp_path / "rules.yaml"
    path.write_text("- {verb: watch, cut: before}\n- {delay: 0.5, user: x}\n", encoding="utf-8")
    assert fault_rules(str(path)) == [FaultRule(verb="watch", cut="before"), FaultRule(delay=0.5, user="x")]
    (doubled,) = fault_rules("duplicate=true")
    assert doubled.duplicate


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("status=abc", "status has the invalid value 'abc'"),
        ("status=200", "400 to 599, not 200"),
        ("cut=now", "before or after, not 'now'"),
        ("verb=get", "set at least one of status"),
        ("colour=red", "unknown fields of a fault rule: colour"),
        ("no-such-file.yaml", "cannot read fault rules from the file"),
        ("duplicate=often", "duplicate has the invalid value 'often'"),
    ],
)
def test_rules_that_make_no_sense_say_why(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        fault_rules(text)


def test_a_rule_is_a_map() -> None:
    with pytest.raises(ValueError, match="a fault rule must be a mapping"):
        fault_rule(["status"])
