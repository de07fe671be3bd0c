"""Credentials that a program prints."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from informers.client import load_kubeconfig
from informers.client.auth import ExecCredentials, bearer
from informers.errors import ConfigError
from tests.informers.client.kubeconfigs import SECRET, Clock, config, header, write


class TestExec:
    def plugin(self, directory: Path, body: str, **spec: Any) -> ExecCredentials:
        script = directory / "plugin"
        script.write_text(f"#!{sys.executable}\nimport json, os, sys\n{body}")
        script.chmod(0o755)
        spec = {"command": "./plugin", "apiVersion": "client.authentication.k8s.io/v1", **spec}
        cluster = {
            "server": "https://api.example",
            "extensions": [{"name": "client.authentication.k8s.io/exec", "extension": {"audience": "x"}}],
        }
        return ExecCredentials(spec, cluster, directory, self.clock)

    clock = Clock()

    ANSWER = (
        "info = json.loads(os.environ['KUBERNETES_EXEC_INFO'])\n"
        "status = {'token': sys.argv[1] + '-' + os.environ.get('WHO', '') + '-' + str(info['spec'])}\n"
        "print(json.dumps({'apiVersion': info['apiVersion'], 'kind': 'ExecCredential', 'status': status}))\n"
    )

    async def test_arguments_environment_and_cluster_reach_the_plugin(self, tmp_path: Path) -> None:
        options: dict[str, Any] = {"args": ["arg"], "env": [{"name": "WHO", "value": "me"}]}
        plain = self.plugin(tmp_path, self.ANSWER, **options)
        assert await plain.current() == bearer("arg-me-{'interactive': False}")
        told = self.plugin(tmp_path, self.ANSWER, provideClusterInfo=True, **options)
        authorization = (await told.current()).authorization
        assert authorization is not None
        assert "'server': 'https://api.example'" in authorization
        assert "'config': {'audience': 'x'}" in authorization

    COUNTING = (
        "count = int(open('count').read() or 0) + 1 if os.path.exists('count') else 1\n"
        "open('count', 'w').write(str(count))\n"
        "status = {'token': f'token-{count}', 'expirationTimestamp': sys.argv[1]}\n"
        "print(json.dumps({'apiVersion': 'client.authentication.k8s.io/v1', 'kind': 'ExecCredential',\n"
        "                  'status': status}))\n"
    )

    async def test_a_token_is_kept_until_shortly_before_it_expires(self, tmp_path: Path) -> None:
        # 2027-01-15T08:00:00Z is where the clock stands.
        credentials = self.plugin(tmp_path, self.COUNTING, args=["2027-01-15T09:00:00Z"])
        self.clock.now = Clock.now
        for _ in range(3):
            assert await credentials.current() == bearer("token-1")
        self.clock.now += 3600 - 31
        assert await credentials.current() == bearer("token-1")
        self.clock.now += 2
        assert await credentials.current() == bearer("token-2")
        self.clock.now = Clock.now

    async def test_many_at_once_run_the_plugin_once(self, tmp_path: Path) -> None:
        credentials = self.plugin(tmp_path, self.COUNTING, args=["2027-01-15T09:00:00Z"])
        found = await asyncio.gather(*(credentials.current() for _ in range(5)))
        assert set(found) == {bearer("token-1")}
        found = await asyncio.gather(*(credentials.renewed(bearer("token-1")) for _ in range(5)))
        assert set(found) == {bearer("token-2")}

    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            (f"print('{SECRET}')", "no ExecCredential"),
            (
                f"print(json.dumps({{'kind': 'Other', 'status': {{'token': '{SECRET}'}}}}))",
                "no ExecCredential",
            ),
            (
                "print(json.dumps({'apiVersion': 'v0', 'kind': 'ExecCredential', 'status': {'token': 'x'}}))",
                "answered in v0",
            ),
            (
                "print(json.dumps({'apiVersion': 'client.authentication.k8s.io/v1',"
                " 'kind': 'ExecCredential', 'status': {}}))",
                "neither a token nor a certificate",
            ),
            ("print('first', file=sys.stderr); sys.exit('log in first')", "ended with 1: log in first"),
            ("print('{\"status\":' + '[' * 100_000)", "no ExecCredential"),
            *(
                (
                    "print(json.dumps({'apiVersion': 'client.authentication.k8s.io/v1',"
                    f" 'kind': 'ExecCredential', 'status': {{'token': '{SECRET}', **{odd}}}}}))",
                    "no ExecCredential",
                )
                for odd in ("{'token': 5}", "{'expirationTimestamp': 1}", "{'clientCertificateData': []}")
            ),
        ],
    )
    async def test_a_plugin_that_fails_says_why_and_shows_no_secret(
        self, tmp_path: Path, body: str, reason: str
    ) -> None:
        with pytest.raises(ConfigError, match=re.escape(reason)) as caught:
            await self.plugin(tmp_path, body).current()
        assert SECRET not in str(caught.value)

    async def test_a_plugin_that_hangs_is_ended(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("informers.client.auth.PLUGIN_TIMEOUT", 0.5)
        body = "open('pid', 'w').write(str(os.getpid()))\nimport time\ntime.sleep(60)"
        with pytest.raises(ConfigError, match="longer than"):
            await self.plugin(tmp_path, body).current()
        if (tmp_path / "pid").exists():
            with pytest.raises(ProcessLookupError):
                os.kill(int((tmp_path / "pid").read_text()), 0)

    async def test_a_server_that_rejects_everything_does_not_make_it_run_without_pause(
        self, tmp_path: Path
    ) -> None:
        credentials = self.plugin(tmp_path, self.COUNTING, args=["2027-01-15T09:00:00Z"])
        credential = await credentials.current()
        for _ in range(20):
            credential = await credentials.renewed(credential)
        assert credential == bearer("token-7")
        self.clock.now += 61
        assert await credentials.renewed(credential) == bearer("token-8")
        self.clock.now = Clock.now

    async def test_a_plugin_that_fails_does_not_run_without_pause(self, tmp_path: Path) -> None:
        body = "open('runs', 'a').write('x')\nsys.exit('no')"
        credentials = self.plugin(tmp_path, body)
        for _ in range(3):
            with pytest.raises(ConfigError, match="no"):
                await credentials.current()
        assert (tmp_path / "runs").read_text() == "x"
        self.clock.now += 3
        with pytest.raises(ConfigError, match="no"):
            await credentials.current()
        assert (tmp_path / "runs").read_text() == "xx"
        self.clock.now = Clock.now

    @pytest.mark.parametrize("content", ["echo no interpreter", "#!/no/such/interpreter"])
    async def test_a_plugin_that_cannot_be_started(self, tmp_path: Path, content: str) -> None:
        plugin = tmp_path / "plugin"
        plugin.write_text(content)
        plugin.chmod(0o755)
        spec = {"command": "./plugin", "apiVersion": "v1"}
        with pytest.raises(ConfigError, match="plugin cannot be started"):
            await load_kubeconfig(write(tmp_path, config({"exec": spec}))).credentials.current()

    async def test_a_plugin_beside_a_kubeconfig_with_a_relative_name(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "conf").mkdir()
        self.plugin(tmp_path / "conf", self.ANSWER)
        spec = {"command": "./plugin", "args": ["found"], "apiVersion": "v1", "env": [{"name": "WHO"}]}
        write(tmp_path / "conf", config({"exec": spec}))
        monkeypatch.chdir(tmp_path)
        credentials = load_kubeconfig("conf/config").credentials
        monkeypatch.chdir("/")
        assert await credentials.current() == bearer("found--{'interactive': False}")

    async def test_a_token_that_has_expired_already_is_not_asked_for_without_pause(
        self, tmp_path: Path
    ) -> None:
        """As it looks where a clock is wrong by more than a token lives."""
        credentials = self.plugin(tmp_path, self.COUNTING, args=["2027-01-15T07:00:00Z"])
        for _ in range(3):
            assert await credentials.current() == bearer("token-1")
        self.clock.now += 3
        assert await credentials.current() == bearer("token-2")
        self.clock.now = Clock.now

    async def test_a_plugin_is_told_the_authority_and_not_its_file(self, tmp_path: Path) -> None:
        self.plugin(tmp_path, self.ANSWER)
        (tmp_path / "ca.crt").write_text("authority")
        extensions = ["odd", {"name": "client.authentication.k8s.io/exec", "extension": date(2027, 1, 15)}]
        cluster = {"certificate-authority": "ca.crt", "extensions": extensions}
        spec = {"command": "./plugin", "args": ["a"], "apiVersion": "v1", "provideClusterInfo": True}
        told = await header(write(tmp_path, config({"exec": spec}, cluster)))
        assert told is not None
        data = base64.b64encode(b"authority").decode()
        assert f"'certificate-authority-data': '{data}'" in told
        assert "'config': '2027-01-15'" in told
        assert "ca.crt" not in told

    async def test_a_missing_plugin_comes_with_its_install_hint(self, tmp_path: Path) -> None:
        spec = {"command": "no-such-plugin", "apiVersion": "v1", "installHint": "see example.com"}
        with pytest.raises(ConfigError, match=r"no-such-plugin: no such program \(see example\.com\)"):
            await load_kubeconfig(write(tmp_path, config({"exec": spec}))).credentials.current()

    @pytest.mark.parametrize(
        ("spec", "reason"),
        [
            ({"apiVersion": "v1"}, "command is missing"),
            ({"command": "x"}, "apiVersion is missing"),
            ({"command": "x", "apiVersion": "v1", "interactiveMode": "Always"}, "needs a terminal"),
            ({"command": "x", "apiVersion": "v1", "args": "one"}, "args is not a list"),
            ({"command": "x", "apiVersion": "v1", "env": ["A=B"]}, "an entry of env has no name"),
        ],
    )
    def test_a_plugin_that_cannot_work(self, tmp_path: Path, spec: Any, reason: str) -> None:
        path = write(tmp_path, config({"exec": spec}))
        with pytest.raises(ConfigError, match=reason) as caught:
            load_kubeconfig(path)
        assert path in str(caught.value)
