"""Other people's clients work: the official one, lightkube, kr8s, kopf, and Helm with our chart."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kubernetes
import pytest

from tests.definitions import definition
from tests.hanging import HANGS

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "etl-operator"


@pytest.fixture(scope="module")
def api(server: Path) -> Iterator[Any]:
    """The official client."""
    with kubernetes.config.new_client_from_config(str(server)) as made:
        yield made


def config_map(name: str, **data: str) -> Any:
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def test_official_client_creates_reads_changes_and_deletes(api: Any) -> None:
    core = kubernetes.client.CoreV1Api(api)
    made = core.create_namespaced_config_map("default", config_map("official", a="1"))
    assert made.metadata.uid
    made.data = {"a": "2"}
    assert core.replace_namespaced_config_map("official", "default", made).data == {"a": "2"}
    stale = kubernetes.client.V1ConfigMap(metadata=made.metadata, data={"a": "3"})
    with pytest.raises(kubernetes.client.ApiException) as refused:
        core.replace_namespaced_config_map("official", "default", stale)
    assert refused.value.status == 409
    assert core.patch_namespaced_config_map("official", "default", {"data": {"b": "1"}}).data["b"] == "1"
    listed = core.list_namespaced_config_map("default", field_selector="metadata.name=official")
    assert [one.metadata.name for one in listed.items] == ["official"]
    core.delete_namespaced_config_map("official", "default")
    with pytest.raises(kubernetes.client.ApiException) as missing:
        core.read_namespaced_config_map("official", "default")
    assert missing.value.status == 404


def test_official_client_watches(api: Any) -> None:
    core = kubernetes.client.CoreV1Api(api)
    version = core.list_namespaced_config_map("default").metadata.resource_version
    core.create_namespaced_config_map("default", config_map("watched"))
    core.patch_namespaced_config_map("watched", "default", {"data": {"b": "1"}})
    core.delete_namespaced_config_map("watched", "default")
    watch = kubernetes.watch.Watch()
    told = []
    for event in watch.stream(
        core.list_namespaced_config_map, "default", resource_version=version, timeout_seconds=20
    ):
        if event["object"].metadata.name == "watched":
            told.append(event["type"])
        if told[-1:] == ["DELETED"]:
            watch.stop()
    assert told == ["ADDED", "MODIFIED", "DELETED"]


def test_official_dynamic_client_applies(api: Any) -> None:
    dynamic = kubernetes.dynamic.DynamicClient(api)
    maps = dynamic.resources.get(api_version="v1", kind="ConfigMap")
    body = config_map("dynamic", a="1")
    one = maps.server_side_apply(body=body, name="dynamic", namespace="default", field_manager="one")
    assert one.metadata.managedFields[0].manager == "one"
    body["data"]["a"] = "2"
    with pytest.raises(kubernetes.dynamic.exceptions.ConflictError):
        maps.server_side_apply(body=body, name="dynamic", namespace="default", field_manager="two")
    forced = maps.server_side_apply(
        body=body, name="dynamic", namespace="default", field_manager="two", force_conflicts=True
    )
    assert forced.data.a == "2"
    maps.delete(name="dynamic", namespace="default")


# It leaves its connections to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_lightkube(server: Path) -> None:
    from lightkube import ApiError, Client, KubeConfig
    from lightkube.models.meta_v1 import ObjectMeta
    from lightkube.resources.core_v1 import ConfigMap

    client = Client(KubeConfig.from_file(str(server)).get(), field_manager="lightkube")
    metadata = ObjectMeta(name="lightkube", namespace="default")
    client.apply(ConfigMap(metadata=metadata, data={"a": "1"}))
    client.patch(ConfigMap, "lightkube", {"data": {"b": "2"}}, namespace="default")
    assert client.get(ConfigMap, "lightkube", namespace="default").data == {"a": "1", "b": "2"}
    names = [one.metadata.name for one in client.list(ConfigMap, namespace="default") if one.metadata]
    assert "lightkube" in names
    client.delete(ConfigMap, "lightkube", namespace="default")
    with pytest.raises(ApiError, match="not found"):
        client.get(ConfigMap, "lightkube", namespace="default")


# In a process of its own: it keeps a thread and connections, and has no way to let go of them.
KR8S = """
import sys
import kr8s
from kr8s.objects import ConfigMap

metadata = {"name": "kr8s", "namespace": "default"}
api = kr8s.api(kubeconfig=sys.argv[1])
made = ConfigMap({"metadata": metadata, "data": {"a": "1"}}, api=api)
made.create()
made.patch({"data": {"b": "2"}})
made.label({"team": "data"})
(found,) = kr8s.get("configmaps", "kr8s", namespace="default", api=api)
assert dict(found.raw["data"]) == {"a": "1", "b": "2"}, found.raw
assert dict(found.labels) == {"team": "data"}, found.raw
assert [one.name for one in kr8s.get("configmaps", label_selector="team=data", api=api)] == ["kr8s"]
made.delete()
made.wait("delete", timeout=600)
print("deleted", [one.name for one in kr8s.get("configmaps", label_selector="team=data", api=api)])
"""


def test_kr8s(server: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KR8S, str(server)], capture_output=True, text=True, timeout=HANGS, check=False
    )
    assert (done.returncode, done.stdout) == (0, "deleted []\n"), done.stderr


KOPF = """
import kopf

@kopf.on.startup()
def configure(settings, **_):
    settings.posting.enabled = False

@kopf.on.create("kopf.example.com", "v1", "toys")
def created(patch, **_):
    patch.status["seen"] = "created"

@kopf.on.update("kopf.example.com", "v1", "toys")
def updated(patch, spec, **_):
    patch.status["seen"] = "updated to " + spec.get("colour", "")

@kopf.on.delete("kopf.example.com", "v1", "toys")
def deleted(name, logger, **_):
    print("deleted", name, flush=True)
"""

TOYS = definition("Toy", "kopf.example.com", {"type": "object", "x-kubernetes-preserve-unknown-fields": True})


def _until(what: str, check: Callable[[], object], said: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + HANGS
    while not check():
        told = said()
        assert time.monotonic() < deadline, f"not within {HANGS} s: {what}\n{told}"
        time.sleep(0.1)


def _serves_toys(objects: Any) -> bool:
    try:
        objects.get_api_resources("kopf.example.com", "v1")
    except kubernetes.client.ApiException as error:
        assert error.status == 404, error
        return False
    return True


def test_kopf_with_handlers_and_a_finalizer(api: Any, server: Path, tmp_path: Path) -> None:
    extensions = kubernetes.client.ApiextensionsV1Api(api)
    objects = kubernetes.client.CustomObjectsApi(api)
    place = ("kopf.example.com", "v1", "default", "toys")
    toy = {"apiVersion": "kopf.example.com/v1", "kind": "Toy", "metadata": {"name": "bear"}}
    extensions.create_custom_resource_definition(TOYS)
    # kopf looks for its kinds when a definition changes, and never again: a server that says a kind is
    # established a moment before it lists it, as real ones do, would leave kopf without it.
    _until("toys are served", lambda: _serves_toys(objects))
    handlers = tmp_path / "handlers.py"
    handlers.write_text(KOPF, encoding="utf-8")
    log = tmp_path / "kopf.log"
    with log.open("wb") as output:
        operator = subprocess.Popen(
            [sys.executable, "-m", "kopf", "run", "--standalone", "--namespace", "default", str(handlers)],
            env={**os.environ, "KUBECONFIG": str(server)},
            stdout=output,
            stderr=output,
        )
    try:

        def until(what: str, check: Any) -> None:
            def still_running() -> str:
                said = log.read_text(encoding="utf-8", errors="replace")
                assert operator.poll() is None, said
                return said

            _until(what, check, still_running)

        def seen() -> str:
            found = objects.get_namespaced_custom_object(*place, "bear")
            return str(found.get("status", {}).get("seen", ""))

        objects.create_namespaced_custom_object(*place, {**toy, "spec": {"colour": "red"}})
        until("the creation is handled", lambda: seen() == "created")
        found = objects.get_namespaced_custom_object(*place, "bear")
        assert found["metadata"]["finalizers"] == ["kopf.zalando.org/KopfFinalizerMarker"]
        objects.patch_namespaced_custom_object(*place, "bear", {"spec": {"colour": "blue"}})
        until("the change is handled", lambda: seen() == "updated to blue")
        objects.delete_namespaced_custom_object(*place, "bear")
        until("the deletion is handled", lambda: "deleted bear" in log.read_text(encoding="utf-8"))
        until("it is gone", lambda: not objects.list_namespaced_custom_object(*place)["items"])
    finally:
        operator.terminate()
        operator.wait(30)
        extensions.delete_custom_resource_definition("toys.kopf.example.com")


@pytest.mark.skipif(shutil.which("helm") is None, reason="helm is not on PATH")
def test_helm_installs_upgrades_rolls_back_and_uninstalls(api: Any, server: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "KUBECONFIG": str(server), "HOME": str(tmp_path)}

    def helm(*arguments: str) -> str:
        done = subprocess.run(
            ["helm", *arguments, "--namespace", "helm-check"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=HANGS,
            check=False,
        )
        assert done.returncode == 0, f"helm {' '.join(arguments)}:\n{done.stdout}{done.stderr}"
        return done.stdout

    apps = kubernetes.client.AppsV1Api(api)

    def replicas() -> int:
        (found,) = apps.list_namespaced_deployment("helm-check").items
        return int(found.spec.replicas)

    assert "STATUS: deployed" in helm("install", "etl", str(CHART), "--create-namespace")
    before = replicas()
    assert "REVISION: 2" in helm("upgrade", "etl", str(CHART), "--set", f"replicaCount={before + 1}")
    assert replicas() == before + 1
    helm("rollback", "etl", "1")
    assert replicas() == before
    assert "rollback to 1" in helm("history", "etl").lower()
    assert "etl" in helm("list")
    helm("uninstall", "etl")
    assert not apps.list_namespaced_deployment("helm-check").items
    kubernetes.client.CoreV1Api(api).delete_namespace("helm-check")
