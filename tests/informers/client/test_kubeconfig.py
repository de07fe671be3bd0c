"""kubeconfig files and pods: every way to say who and where, and every way to get it wrong."""

from __future__ import annotations

import base64
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from informers.client import load_default, load_in_cluster, load_kubeconfig
from informers.client.auth import FileToken, bearer
from informers.errors import ConfigError
from tests.informers.client.kubeconfigs import SECRET, Clock, config, header, write


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
        with pytest.raises(ConfigError, match=r"\.\[auth-providers\]") as caught:
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
