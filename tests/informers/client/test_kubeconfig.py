"""kubeconfig files and pods: every way to say who and where, and every way to get it wrong."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from informers.client import load_default, load_in_cluster, load_kubeconfig
from informers.client.auth import ExecCredentials, FileToken, bearer
from informers.errors import ConfigError

SECRET = "s3cr3t-t0k3n"


class Clock:
    """A clock that tests set."""

    now = 1_800_000_000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now


def config(user: Any = None, cluster: Any = None, **context: Any) -> dict[str, Any]:
    return {
        "clusters": [{"name": "c", "cluster": {"server": "https://api.example:6443", **(cluster or {})}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", **context}}],
        "current-context": "x",
    }


def write(directory: Path, content: Any, name: str = "config") -> str:
    file = directory / name
    file.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
    return str(file)


async def header(path: str) -> str | None:
    return (await load_kubeconfig(path).credentials.current()).authorization


class TestUsers:
    @pytest.mark.parametrize(
        ("user", "expected"),
        [
            (None, None),
            ({}, None),
            ({"token": SECRET}, f"Bearer {SECRET}"),
            ({"token": f"{SECRET}\n"}, f"Bearer {SECRET}"),
            ({"username": "me", "password": "pw"}, "Basic " + base64.b64encode(b"me:pw").decode()),
            ({"username": "me", "password": "pw", "token": SECRET}, f"Bearer {SECRET}"),
        ],
    )
    async def test_plain_credentials(self, tmp_path: Path, user: Any, expected: str | None) -> None:
        assert await header(write(tmp_path, config(user))) == expected

    async def test_a_token_file_is_read_again_after_a_minute(self, tmp_path: Path) -> None:
        clock = Clock()
        (tmp_path / "token").write_text("one\n")
        # Relative to the kubeconfig, and stronger than the token beside it.
        path = write(tmp_path, config({"tokenFile": "token", "token": "stale"}))
        credentials = load_kubeconfig(path, clock=clock).credentials
        assert await credentials.current() == bearer("one")
        (tmp_path / "token").write_text("two\n")
        assert await credentials.current() == bearer("one")
        clock.now += 61
        assert await credentials.current() == bearer("two")

    async def test_a_rejected_token_file_is_read_at_once(self, tmp_path: Path) -> None:
        file = tmp_path / "token"
        file.write_text("one")
        credentials = FileToken(file, Clock())
        file.write_text("two")
        assert await credentials.renewed(bearer("one")) == bearer("two")
        # Somebody else has renewed it meanwhile: no need to read it again.
        file.write_text("three")
        assert await credentials.renewed(bearer("one")) == bearer("two")

    async def test_a_token_file_that_vanishes_for_a_moment(self, tmp_path: Path) -> None:
        clock = Clock()
        file = tmp_path / "token"
        file.write_text("one")
        credentials = FileToken(file, clock)
        file.unlink()
        clock.now += 61
        assert await credentials.current() == bearer("one")

    async def test_impersonation(self, tmp_path: Path) -> None:
        extra = {"why": ["x"], "example.com/A%": ["y"]}
        user = {"as": "jane", "as-uid": "7", "as-groups": ["a", "b"], "as-user-extra": extra}
        assert load_kubeconfig(write(tmp_path, config(user))).headers == [
            ("Impersonate-User", "jane"),
            ("Impersonate-Uid", "7"),
            ("Impersonate-Group", "a"),
            ("Impersonate-Group", "b"),
            ("Impersonate-Extra-example.com%2FA%25", "y"),
            ("Impersonate-Extra-why", "x"),
        ]

    async def test_an_auth_provider_is_the_official_client_s_trade(self, tmp_path: Path) -> None:
        payload = base64.urlsafe_b64encode(json.dumps({"exp": 4_000_000_000}).encode()).decode().rstrip("=")
        token = f"header.{payload}.signature"
        provider = {"name": "oidc", "config": {"id-token": token, "idp-issuer-url": "https://idp.example"}}
        assert await header(write(tmp_path, config({"auth-provider": provider}))) == f"Bearer {token}"

    def test_without_the_official_client_an_auth_provider_names_what_to_install(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "kubernetes", None)
        path = write(tmp_path, config({"auth-provider": {"name": "oidc"}}))
        with pytest.raises(ConfigError, match=r"etl-operator\[auth-providers\]") as caught:
            load_kubeconfig(path)
        assert str(caught.value).startswith(f"{path}: ")

    async def test_an_auth_provider_that_cannot_be_reached_is_no_credential(self, tmp_path: Path) -> None:
        expired = base64.urlsafe_b64encode(b'{"exp":1}').decode().rstrip("=")
        provider = {
            "name": "oidc",
            "config": {
                "client-id": "me",
                "id-token": f"header.{expired}.signature",
                "idp-issuer-url": "http://127.0.0.1:1",
                "refresh-token": SECRET,
            },
        }
        path = write(tmp_path, config({"auth-provider": provider}))
        with pytest.raises(ConfigError, match=r"auth-provider: \w+$") as caught:
            await header(path)
        assert path in str(caught.value)
        assert SECRET not in str(caught.value)

    async def test_no_secret_shows_anywhere(self, tmp_path: Path) -> None:
        access = load_kubeconfig(
            write(tmp_path, config({"token": SECRET}, {"proxy-url": f"http://me:{SECRET}@proxy:3128"}))
        )
        assert SECRET not in repr(access)
        assert SECRET not in repr(await access.credentials.current())


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


class TestClusters:
    def test_what_is_said_about_the_cluster(self, tmp_path: Path) -> None:
        (tmp_path / "pki").mkdir()
        (tmp_path / "pki" / "ca.crt").write_text("authority")
        cluster = {
            "server": "https://api.example/prefix/",
            "certificate-authority": "pki/ca.crt",
            "tls-server-name": "internal",
            "proxy-url": "http://proxy:3128",
        }
        access = load_kubeconfig(write(tmp_path, config({}, cluster, namespace="shop")))
        assert (access.server, access.namespace) == ("https://api.example/prefix", "shop")
        assert access.tls.ca_file == tmp_path / "pki" / "ca.crt"
        assert (access.tls.server_name, access.proxy) == ("internal", "http://proxy:3128")
        assert not access.tls.insecure

    def test_data_may_be_broken_into_lines(self, tmp_path: Path) -> None:
        content = b"certificate" * 20
        cluster = {"certificate-authority-data": base64.encodebytes(content).decode()}
        assert load_kubeconfig(write(tmp_path, config({}, cluster))).tls.ca_data == content

    def test_defaults(self, tmp_path: Path) -> None:
        access = load_kubeconfig(write(tmp_path, config()))
        assert (access.namespace, access.proxy, access.tls.ca_file) == ("default", None, None)

    @pytest.mark.parametrize(
        ("user", "cluster", "reason"),
        [
            ({}, {"server": ""}, "server is missing"),
            ({}, {"server": "api.example"}, "not an http or https URL"),
            ({}, {"server": "ftp://api.example"}, "not an http or https URL"),
            ({}, {"server": "https://api.example:port"}, "not an http or https URL"),
            ({}, {"certificate-authority": "missing.crt"}, "missing.crt does not exist"),
            ({}, {"certificate-authority-data": "%%%"}, "certificate-authority-data is not base64"),
            ({}, {"server": "https://api\\example:6443"}, "not an http or https URL"),
            ({}, {"server": "https://api example:6443"}, "not an http or https URL"),
            ({}, {"server": "https://{api}:6443"}, "not an http or https URL"),
            ({}, {"proxy-url": "socks5://proxy"}, "socks5 scheme is not supported"),
            ({}, {"proxy-url": "proxy"}, "no scheme is not supported"),
            ({}, {"proxy-url": "http://"}, "proxy-url is not the URL of a proxy"),
            ({}, {"proxy-url": "http://[::1"}, "proxy-url is not the URL of a proxy"),
            ({}, {"insecure-skip-tls-verify": "false"}, "is neither true nor false"),
            ({"client-certificate-data": "YQ=="}, {}, "must be set together"),
            ({"client-key-data": "YQ=="}, {}, "must be set together"),
            ({"client-certificate": "no.crt", "client-key": "no.key"}, {}, "no.crt does not exist"),
            ({"tokenFile": "no-token"}, {}, "no-token: cannot read the token"),
        ],
    )
    def test_what_is_wrong_is_named_with_its_file(
        self, tmp_path: Path, user: Any, cluster: Any, reason: str
    ) -> None:
        path = write(tmp_path, config(user, cluster))
        with pytest.raises(ConfigError, match=re.escape(reason)) as caught:
            load_kubeconfig(path)
        assert path in str(caught.value)


INNER = {"clusters": "cluster", "users": "user", "contexts": "context"}
VALUES: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.integers(), st.text(max_size=3), st.lists(st.just({}), max_size=2), st.just({"a": 1})
)
FIELDS = st.sampled_from(
    [
        *("server", "proxy-url", "certificate-authority", "certificate-authority-data", "tls-server-name"),
        *("token", "tokenFile", "exec", "auth-provider", "username", "password", "client-key-data"),
        *("as", "as-groups", "as-user-extra", "cluster", "user", "namespace"),
    ]
)


class TestFiles:
    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            ("", "no current-context"),
            ("[]", "not a kubeconfig"),
            ("a: [", "not YAML"),
            ({**config(), "current-context": ""}, "no current-context"),
            ({**config(), "current-context": "other"}, "no context named 'other'"),
            ({**config(), "clusters": []}, "no cluster named 'c'"),
            ({**config(), "users": None}, "no user named 'u'"),
            ({**config(), "users": [{"user": {}}]}, "an entry of users has no name"),
        ],
    )
    def test_broken_files(self, tmp_path: Path, content: Any, reason: str) -> None:
        path = write(tmp_path, content)
        with pytest.raises(ConfigError, match=re.escape(reason)) as caught:
            load_kubeconfig(path)
        assert path in str(caught.value)

    def test_a_broken_file_does_not_spill_its_secrets(self, tmp_path: Path) -> None:
        path = write(tmp_path, f"users: [{{token: {SECRET}, x: : }}]")
        with pytest.raises(ConfigError, match="line 1") as caught:
            load_kubeconfig(path)
        assert SECRET not in str(caught.value)

    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="No such file"):
            load_kubeconfig(str(tmp_path / "missing"))

    def test_several_files_are_one_and_the_first_wins(self, tmp_path: Path) -> None:
        (tmp_path / "sub").mkdir()
        (tmp_path / "sub" / "ca.crt").write_text("authority")
        first = {"current-context": "x", "users": [{"name": "u", "user": {"as": "first"}}]}
        second = config({"as": "second"}, {"certificate-authority": "ca.crt"})
        second["current-context"] = "y"
        empty = write(tmp_path, "# nothing yet", "empty")
        names = [empty, write(tmp_path, first), "missing", write(tmp_path / "sub", second)]
        access = load_kubeconfig(None, environ={"KUBECONFIG": os.pathsep.join(names)})
        assert access.headers == [("Impersonate-User", "first")]
        assert access.tls.ca_file == tmp_path / "sub" / "ca.crt"

    def test_another_context(self, tmp_path: Path) -> None:
        document = config()
        document["contexts"].append({"name": "y", "context": {"cluster": "c", "namespace": "other"}})
        path = write(tmp_path, document)
        assert load_kubeconfig(path, context="y").namespace == "other"
        with pytest.raises(ConfigError, match="no context named 'z'"):
            load_kubeconfig(path, context="z")

    @given(st.binary(max_size=200))
    def test_no_bytes_do_worse_than_a_config_error(
        self, tmp_path_factory: pytest.TempPathFactory, content: bytes
    ) -> None:
        file = tmp_path_factory.mktemp("config") / "config"
        file.write_bytes(content)
        with pytest.raises(ConfigError):
            load_kubeconfig(str(file))

    @settings(max_examples=200)
    @given(st.data())
    def test_no_shape_does_worse_than_a_config_error(
        self, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
    ) -> None:
        document = config({"token": "x"})
        where = data.draw(st.sampled_from(["top", "entry", "field", "field", "field"]))
        section, inner = data.draw(st.sampled_from(list(INNER.items())))
        value = data.draw(VALUES)
        if where == "top":
            document[data.draw(st.sampled_from(list(document)))] = value
        elif where == "entry":
            document[section][0][inner] = value
        else:
            section, inner = data.draw(st.sampled_from(list(INNER.items())))
            fields = document[section][0][inner]
            document[section][0][inner] = {**fields, data.draw(FIELDS): value, "token": None}
        path = write(tmp_path_factory.mktemp("config"), document)
        try:
            load_kubeconfig(path)
        except ConfigError as error:
            assert path in str(error)


class TestInCluster:
    ENVIRONMENT = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}  # noqa: RUF012

    def mount(self, directory: Path) -> Path:
        for name, content in (("token", "pod-token"), ("ca.crt", "authority"), ("namespace", "shop\n")):
            (directory / name).write_text(content)
        return directory

    async def test_a_pod(self, tmp_path: Path) -> None:
        access = load_in_cluster(directory=self.mount(tmp_path), environ=self.ENVIRONMENT)
        assert (access.server, access.namespace) == ("https://10.0.0.1:443", "shop")
        assert access.tls.ca_file == tmp_path / "ca.crt"
        assert await access.credentials.current() == bearer("pod-token")

    def test_an_ipv6_address_gets_brackets(self, tmp_path: Path) -> None:
        environment = {**self.ENVIRONMENT, "KUBERNETES_SERVICE_HOST": "fd00::1"}
        access = load_in_cluster(directory=self.mount(tmp_path), environ=environment)
        assert access.server == "https://[fd00::1]:443"

    @pytest.mark.parametrize("missing", ["token", "ca.crt"])
    def test_no_service_account(self, tmp_path: Path, missing: str) -> None:
        self.mount(tmp_path)
        (tmp_path / missing).unlink()
        with pytest.raises(ConfigError, match=re.escape(missing)):
            load_in_cluster(directory=tmp_path, environ=self.ENVIRONMENT)

    def test_no_pod(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="not in a pod"):
            load_in_cluster(directory=tmp_path, environ={})


class TestDefault:
    def test_the_order(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        home = tmp_path / "home"
        (home / ".kube").mkdir(parents=True)
        monkeypatch.setenv("HOME", str(home))
        with pytest.raises(ConfigError, match="no cluster is configured"):
            load_default(None, environ={})
        write(home / ".kube", config(None, None, namespace="home"))
        assert load_default(None, environ={}).namespace == "home"
        pod = {"KUBERNETES_SERVICE_HOST": "h", "KUBERNETES_SERVICE_PORT": "1"}
        with pytest.raises(ConfigError, match="service account"):
            load_default(None, environ=pod)
        variable = write(tmp_path, config(None, None, namespace="variable"), "variable")
        assert load_default(None, environ={"KUBECONFIG": variable, **pod}).namespace == "variable"
        flag = write(tmp_path, config(None, None, namespace="flag"), "flag")
        assert load_default(flag, environ={"KUBECONFIG": variable}).namespace == "flag"
