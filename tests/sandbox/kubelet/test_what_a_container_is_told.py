"""Environment, command line, paths and names: from the spec to what the process gets."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl_operator.sandbox.kubelet.environment import (
    API_SERVER,
    ConfigMissing,
    PathRewriter,
    api_server_variables,
    command_line,
    environment,
    expand,
    kubeconfig,
    proxy_variables,
)
from etl_operator.sandbox.kubelet.images import Image, ImageTable
from etl_operator.sandbox.kubelet.names import NameRewriter
from informers.client import load_kubeconfig
from informers.objects import Object

POD: Object = {
    "metadata": {
        "name": "db-0",
        "namespace": "ns",
        "uid": "u",
        "labels": {"app": "db", "b": "2"},
        "annotations": {"note": "hello"},
    },
    "spec": {"nodeName": "node", "serviceAccountName": "sa"},
}
OBJECTS: dict[tuple[str, str], Object] = {
    ("ConfigMap", "settings"): {"kind": "ConfigMap", "data": {"LEVEL": "info", "mode": "x"}},
    ("Secret", "keys"): {"kind": "Secret", "data": {"TOKEN": base64.b64encode(b"s3cret").decode()}},
}


def find(kind: str, name: str) -> Object | None:
    return OBJECTS.get((kind, name))


def env(*entries: Object, **container: Any) -> dict[str, str]:
    return environment({"name": "main", "env": list(entries), **container}, POD, "127.1.2.3", find)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "db-0"),
        ("metadata.namespace", "ns"),
        ("metadata.uid", "u"),
        ("status.podIP", "127.1.2.3"),
        ("status.hostIP", "127.0.0.1"),
        ("spec.nodeName", "node"),
        ("spec.serviceAccountName", "sa"),
        ("metadata.labels['app']", "db"),
        ("metadata.annotations['missing']", ""),
        ("metadata.labels", 'app="db"\nb="2"'),
    ],
)
def test_the_downward_api_knows_the_address_before_any_status(path: str, value: str) -> None:
    assert env({"name": "X", "valueFrom": {"fieldRef": {"fieldPath": path}}}) == {"X": value}


def test_variables_refer_to_earlier_ones_only() -> None:
    found = env(
        {"name": "A", "value": "$(B)-$(A)"}, {"name": "B", "value": "b"}, {"name": "C", "value": "$(B)$$(B)"}
    )
    assert found == {"A": "$(B)-$(A)", "B": "b", "C": "b$(B)"}


def test_config_maps_and_secrets_fill_variables() -> None:
    found = env(
        {"name": "T", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "TOKEN"}}},
        {"name": "O", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "x", "optional": True}}},
        envFrom=[{"prefix": "S_", "configMapRef": {"name": "settings"}}],
    )
    assert found == {"S_LEVEL": "info", "S_mode": "x", "T": "s3cret"}


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"configMapKeyRef": {"name": "none", "key": "x"}}, 'configmap "none" not found'),
        ({"secretKeyRef": {"name": "keys", "key": "x"}}, "couldn't find key x in Secret keys"),
        ({"fieldRef": {"fieldPath": "spec.nothing"}}, "unsupported fieldPath: spec.nothing"),
    ],
)
def test_what_is_missing_is_named(entry: Object, said: str) -> None:
    with pytest.raises(ConfigMissing, match=said):
        env({"name": "X", "valueFrom": entry})


@pytest.mark.parametrize(
    ("resource", "divisor", "told"),
    [
        ("limits.cpu", "0", "2"),
        ("limits.cpu", "1m", "1500"),
        ("limits.memory", None, "536870912"),
        ("limits.memory", "1Mi", "512"),
        ("requests.cpu", None, "0"),
    ],
)
def test_resources_are_told_in_whole_divisors(resource: str, divisor: str | None, told: str) -> None:
    reference = {"resource": resource, **({"divisor": divisor} if divisor else {})}
    entry = {"name": "X", "valueFrom": {"resourceFieldRef": reference}}
    assert env(entry, resources={"limits": {"cpu": "1500m", "memory": "512Mi"}}) == {"X": told}


@given(st.text())
def test_text_without_references_stays_as_it_is(text: str) -> None:
    plain = text.replace("$", "")
    assert expand(plain, {"A": "1"}) == plain


def test_the_entry_point_is_used_only_without_a_command() -> None:
    values = {"N": "7"}
    assert command_line({"args": ["--n", "$(N)"]}, ["prog"], values) == ["prog", "--n", "7"]
    assert command_line({"command": ["other"]}, ["prog"], values) == ["other"]


@pytest.mark.parametrize(
    ("value", "rewritten"),
    [
        ("/data", "/real/d"),
        ("--dir=/data/x", "--dir=/real/d/x"),
        ("/data/logs/a.log", "/real/logs/a.log"),
        ("/database", "/database"),
        ("/x/data", "/x/data"),
        ("/data:/etc/app", "/real/d:/real/etc"),
        ("cat /data/a /etc/app/b", "cat /real/d/a /real/etc/b"),
        ("/data.old", "/data.old"),
        ("/", "/"),
    ],
)
def test_mount_paths_become_directories_where_they_stand_for_themselves(value: str, rewritten: str) -> None:
    paths = PathRewriter(
        {"/data": "/real/d", "/data/logs": "/real/logs", "/etc/app/": "/real/etc", "/": "/no"}
    )
    assert paths.rewrite(value) == rewritten


def address_of(pod: str, service: str, namespace: str) -> str | None:
    return f"127.9.0.{pod[-1]}" if (service, namespace) == ("db", "ns") else None


def service_of(service: str, namespace: str, port: int | None) -> tuple[str, int | None] | None:
    return ("127.8.0.1", port and port + 1) if service == "web" else None


@pytest.mark.parametrize(
    ("value", "rewritten"),
    [
        ("1:db-0.db.ns.svc.cluster.local:50052", "1:127.9.0.0:50052"),
        ("1:db-0.db.ns.svc:1,2:db-1.db.ns.svc.cluster.local:1", "1:127.9.0.0:1,2:127.9.0.1:1"),
        ("http://web.ns.svc:80/x", "http://127.8.0.1:81/x"),
        ("web.ns.svc.cluster.local.", "127.8.0.1"),
        ("db-0.other.ns.svc", "db-0.other.ns.svc"),
        ("web.ns.svc.example.com", "web.ns.svc.example.com"),
        ("web.ns.svcs", "web.ns.svcs"),
        ("a-web.ns.svc-x", "a-web.ns.svc-x"),
        ("plain text", "plain text"),
    ],
)
def test_cluster_names_become_addresses(value: str, rewritten: str) -> None:
    assert NameRewriter("cluster.local", address_of, service_of).rewrite(value) == rewritten


@pytest.mark.parametrize(
    ("reference", "known"),
    [
        ("etl-router", True),
        ("etl-router:0.1.0", True),
        ("registry.example.com:5000/team/etl-router:1", True),
        ("etl-router@sha256:abc", True),
        ("etl-router-extra:1", False),
        ("nobody/has-this:1", False),
        ("", False),
    ],
)
def test_images_are_found_whatever_their_registry(reference: str, known: bool) -> None:
    table = ImageTable.default()
    assert (table.find(reference) is not None) is known
    assert "etl-router:*" in table.refusal(reference)


def test_an_engine_takes_the_place_of_the_reference_node() -> None:
    found = ImageTable.default(engine="/opt/my router").find("etl-router:1")
    assert found is not None
    assert found.programs == {"etl-router": ["/opt/my router"]}


@pytest.mark.parametrize("engine", ["embedded", "etcd"])
def test_a_consensus_engine_is_an_option_of_the_reference_node(engine: str) -> None:
    found = ImageTable.default(engine=engine).find("etl-router:1")
    assert found is not None
    assert found.programs["etl-router"][-2:] == ["etl_operator.node.main", f"--engine={engine}"]


def test_launchers_quote_what_the_shell_would_split(tmp_path: Any) -> None:
    import subprocess

    image = Image("tool:*", {"tool": ["/bin/echo", "two words", "$HOME"]}, ("tool",))
    directory = image.install(tmp_path)
    done = subprocess.run([str(directory / "tool"), "third"], capture_output=True, text=True, check=True)
    assert done.stdout == "two words $HOME third\n"


def test_a_container_is_told_where_the_api_server_is() -> None:
    def service(name: str, namespace: str, port: int | None) -> tuple[str, int | None] | None:
        return ("127.0.0.1", 6443) if (name, namespace, port) == ("kubernetes", "default", 443) else None

    known = NameRewriter("cluster.local", lambda *_: None, service)
    assert api_server_variables(known.rewrite(API_SERVER)) == {
        "KUBERNETES_SERVICE_HOST": "127.0.0.1",
        "KUBERNETES_SERVICE_PORT": "6443",
        "KUBERNETES_SERVICE_PORT_HTTPS": "6443",
    }
    unknown = NameRewriter("cluster.local", lambda *_: None, lambda *_: None)
    assert api_server_variables(unknown.rewrite(API_SERVER)) == {}


@pytest.mark.parametrize(
    ("image", "program"),
    [
        ("etl-router:latest", "etl-router"),
        ("registry.example/team/etl-operator@sha256:" + "0" * 64, "etl-operator"),
        ("etl-service:1.0", "etl-service"),
    ],
)
def test_the_images_of_this_repository_are_known(image: str, program: str) -> None:
    found = ImageTable.default().find(image)
    assert found is not None and found.entrypoint == (program,)


def test_an_operator_listens_on_the_address_of_its_pod_alone() -> None:
    image = ImageTable.default().find("etl-operator:latest")
    assert image is not None
    command = ["run", "--metrics-bind-address=:8080", "--health-probe-bind-address", ":8081", "--x=:1", ":2"]
    assert image.listen(command, "127.1.2.3") == [
        "run",
        "--metrics-bind-address=127.1.2.3:8080",
        *("--health-probe-bind-address", "127.1.2.3:8081"),
        *("--x=:1", ":2"),
    ]
    assert image.listen(["--metrics-bind-address=0"], "127.1.2.3") == ["--metrics-bind-address=0"]


def test_grpc_finds_names_through_the_proxy_and_addresses_without() -> None:
    assert proxy_variables("", "ns") == {}
    assert proxy_variables("http://127.0.0.1:7", "ns") == {
        "grpc_proxy": "http://ns@127.0.0.1:7",
        "no_grpc_proxy": "127.0.0.0/8",
    }


def test_the_kubeconfig_of_a_pod_leads_to_the_token_of_its_account(tmp_path: Path) -> None:
    for name in ("token", "ca.crt"):
        (tmp_path / name).write_text("t", encoding="utf-8")
    file = tmp_path / "kubeconfig"
    content = kubeconfig("https://127.0.0.1:6443", str(tmp_path), "ns")
    file.write_text(json.dumps(content), encoding="utf-8")
    access = load_kubeconfig(str(file))
    assert (access.server, access.namespace) == ("https://127.0.0.1:6443", "ns")
