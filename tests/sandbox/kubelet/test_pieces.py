"""Addresses, volumes, logs, back-off, probes and statuses, each on its own."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl_operator.sandbox.kubelet import probes
from etl_operator.sandbox.kubelet.addresses import AddressBook
from etl_operator.sandbox.kubelet.backoff import CrashBackoff
from etl_operator.sandbox.kubelet.logs import LogFiles, last_lines, read
from etl_operator.sandbox.kubelet.status import ContainerRecord, pod_status, recall
from etl_operator.sandbox.kubelet.volumes import VolumeMissing, Volumes, claim_directory, remove_orphans
from informers.objects import Object, ObjectKey
from informers.testing.clock import run_virtual
from tests.hanging import HANGS

T0, T1 = "2027-01-01T00:00:00Z", "2027-01-01T00:01:00Z"


def test_addresses_are_sticky_unique_and_survive_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "addresses.json"
    book = AddressBook(file)
    keys = [ObjectKey("ns", f"pod-{number}") for number in range(300)]
    found = [book.address(key) for key in keys]
    assert len(set(found)) == len(found)
    assert all(one.startswith("127.") and not one.startswith("127.0.") for one in found)
    assert [book.address(key) for key in reversed(keys)] == found[::-1]
    assert [AddressBook(file).address(key) for key in keys] == found


def test_back_off_is_the_kubelets() -> None:
    backoff = CrashBackoff()
    assert [backoff.ended(1) for _ in range(8)] == [0, 10, 20, 40, 80, 160, 300, 300]
    assert [backoff.ended(600), backoff.ended(599)] == [0, 10]


# -- volumes ----------------------------------------------------------------------------------------


def pod_with(*volumes: Object, mounts: list[Object] | None = None) -> Object:
    return {
        "metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"app": "x"}},
        "spec": {"volumes": list(volumes), "containers": [{"name": "main", "volumeMounts": mounts or []}]},
    }


class Shelf:
    """Objects of a namespace."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Object] = {}

    def put(self, kind: str, name: str, **fields: Any) -> None:
        self.objects[kind, name] = {
            "kind": kind,
            "metadata": {"name": name, "namespace": "ns", "uid": name},
            **fields,
        }

    def __call__(self, kind: str, name: str) -> Object | None:
        return self.objects.get((kind, name))


def volumes_of(pod: Object, directory: Path, claims: Path) -> Volumes:
    return Volumes(pod, "ip", directory, claims, lambda source: f"token for {source['audience']}")


def test_config_maps_become_files_that_follow_their_object(tmp_path: Path) -> None:
    shelf = Shelf()
    shelf.put("ConfigMap", "c", data={"a": "one", "b": "two"})
    volumes = volumes_of(pod_with({"name": "v", "configMap": {"name": "c"}}), tmp_path / "pod", tmp_path)
    volumes.prepare(shelf)
    directory = tmp_path / "pod" / "volumes" / "v"
    assert {file.name: file.read_text() for file in directory.iterdir()} == {"a": "one", "b": "two"}
    untouched = (directory / "a").stat().st_mtime_ns
    shelf.put("ConfigMap", "c", data={"a": "one", "c": "three"})
    volumes.prepare(shelf)
    assert {file.name: file.read_text() for file in directory.iterdir()} == {"a": "one", "c": "three"}
    assert (directory / "a").stat().st_mtime_ns == untouched


def test_secrets_items_modes_and_projections(tmp_path: Path) -> None:
    shelf = Shelf()
    shelf.put("Secret", "s", data={"key": base64.b64encode(b"\x00raw").decode(), "more": ""})
    shelf.put("ConfigMap", "c", data={"x": "1"})
    pod = pod_with(
        {
            "name": "one",
            "secret": {"secretName": "s", "items": [{"key": "key", "path": "sub/k", "mode": 0o400}]},
        },
        {
            "name": "all",
            "projected": {
                "sources": [
                    {"configMap": {"name": "c"}},
                    {"serviceAccountToken": {"path": "t", "audience": "vault"}},
                    {"downwardAPI": {"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
                ]
            },
        },
        {"name": "gone", "configMap": {"name": "missing", "optional": True}},
    )
    volumes = volumes_of(pod, tmp_path / "pod", tmp_path)
    volumes.prepare(shelf)
    root = tmp_path / "pod" / "volumes"
    assert (root / "one" / "sub" / "k").read_bytes() == b"\x00raw"
    assert [file.name for file in (root / "one").iterdir()] == ["sub"]
    assert (root / "all" / "x").read_text() == "1"
    assert (root / "all" / "l").read_text() == 'app="x"'
    assert (root / "all" / "t").read_text() == "token for vault"
    assert (root / "all" / "t").stat().st_mode & 0o077 == 0
    assert list((root / "gone").iterdir()) == []


def test_limits_become_files(tmp_path: Path) -> None:
    def item(container: str) -> Object:
        reference = {"containerName": container, "resource": "limits.memory", "divisor": "1Mi"}
        return {"path": "memory", "mode": 0o440, "resourceFieldRef": reference}

    pod = pod_with({"name": "info", "downwardAPI": {"items": [item("main")]}})
    pod["spec"]["containers"][0]["resources"] = {"limits": {"memory": "1Gi"}}
    volumes_of(pod, tmp_path / "pod", tmp_path).prepare(Shelf())
    assert (tmp_path / "pod" / "volumes" / "info" / "memory").read_text() == "1024"
    pod["spec"]["volumes"][0]["downwardAPI"]["items"] = [item("other")]
    with pytest.raises(VolumeMissing, match="couldn't find container other"):
        volumes_of(pod, tmp_path / "pod", tmp_path).prepare(Shelf())


@pytest.mark.parametrize(
    ("volume", "said"),
    [
        ({"configMap": {"name": "none"}}, 'configmap "none" not found'),
        ({"secret": {"secretName": "none"}}, 'secret "none" not found'),
        (
            {"configMap": {"name": "c", "items": [{"key": "z", "path": "z"}]}},
            "configmap references non-existent config key: z",
        ),
        ({"persistentVolumeClaim": {"claimName": "none"}}, 'persistentvolumeclaim "none" not found'),
        ({"persistentVolumeClaim": {"claimName": "new"}}, "is not bound"),
        ({"hostPath": {"path": "/etc"}}, "the process node does not support hostPath"),
        ({"projected": {"sources": [{"clusterTrustBundle": {}}]}}, "does not support clusterTrustBundle"),
    ],
)
def test_a_volume_waits_for_what_it_refers_to(tmp_path: Path, volume: Object, said: str) -> None:
    shelf = Shelf()
    shelf.put("ConfigMap", "c", data={})
    shelf.put("PersistentVolumeClaim", "new")
    volumes = volumes_of(pod_with({"name": "v", **volume}), tmp_path / "pod", tmp_path)
    with pytest.raises(VolumeMissing, match=said):
        volumes.prepare(shelf)


def test_claims_outlive_pods_and_go_with_their_object(tmp_path: Path) -> None:
    shelf = Shelf()
    shelf.put("PersistentVolumeClaim", "data", status={"phase": "Bound"})
    claims = tmp_path / "claims"
    mounts = [{"name": "v", "mountPath": "/data"}, {"name": "v", "mountPath": "/sub", "subPath": "inner"}]
    pod = pod_with({"name": "v", "persistentVolumeClaim": {"claimName": "data"}}, mounts=mounts)
    volumes = volumes_of(pod, tmp_path / "pod", claims)
    volumes.prepare(shelf)
    found = volumes.mounts(pod["spec"]["containers"][0], shelf, {})
    real = Path(found["/data"])
    assert found["/sub"] == str(real / "inner")
    (real / "file").write_text("kept")
    volumes.remove()
    claim = shelf.objects["PersistentVolumeClaim", "data"]
    remove_orphans(claims, [claim_directory(claim)])
    assert (real / "file").read_text() == "kept"
    remove_orphans(claims, [claim_directory({**claim, "metadata": {**claim["metadata"], "uid": "new"}})])
    assert list(claims.iterdir()) == []


def test_a_sub_path_is_expanded_with_the_variables_of_its_container(tmp_path: Path) -> None:
    mounts = [{"name": "v", "mountPath": "/data", "subPathExpr": "logs/$(POD)"}]
    pod = pod_with({"name": "v", "emptyDir": {}}, mounts=mounts)
    volumes = volumes_of(pod, tmp_path / "pod", tmp_path)
    volumes.prepare(Shelf())
    container, inside = pod["spec"]["containers"][0], tmp_path / "pod" / "volumes" / "v"
    assert volumes.mounts(container, Shelf(), {"POD": "p-0"}) == {"/data": str(inside / "logs" / "p-0")}
    with pytest.raises(VolumeMissing, match="variable POD is not defined"):
        volumes.mounts(container, Shelf(), {})


@pytest.mark.parametrize("path", ["../../x", "..", "/etc", "$(UP)/x", "link/x", "link"])
def test_no_mount_leads_out_of_its_volume(tmp_path: Path, path: str) -> None:
    # A server may have taken these before it knew better, a variable may say anything, and so may a program.
    mounts = [{"name": "v", "mountPath": "/data", "subPathExpr": path}]
    pod = pod_with({"name": "v", "emptyDir": {}}, mounts=mounts)
    volumes = volumes_of(pod, tmp_path / "pod", tmp_path)
    volumes.prepare(Shelf())
    (tmp_path / "pod" / "volumes" / "v" / "link").symlink_to(tmp_path)
    with pytest.raises(VolumeMissing, match="is outside of its volume"):
        volumes.mounts(pod["spec"]["containers"][0], Shelf(), {"UP": "../.."})
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("path", ["../../../stolen", "a/../../../../stolen", "link/stolen"])
def test_no_file_is_written_outside_of_its_volume(tmp_path: Path, path: str) -> None:
    shelf = Shelf()
    shelf.put("ConfigMap", "c", data={"k": "content"})
    pod = pod_with({"name": "v", "configMap": {"name": "c", "items": [{"key": "k", "path": path}]}})
    directory = tmp_path / "pod" / "volumes" / "v"
    directory.mkdir(parents=True)
    (directory / "link").symlink_to(tmp_path)
    with pytest.raises(VolumeMissing, match="is outside of its volume"):
        volumes_of(pod, tmp_path / "pod", tmp_path).prepare(shelf)
    assert not (tmp_path / "stolen").exists()


def test_a_link_that_a_program_left_in_the_place_of_a_file_is_replaced(tmp_path: Path) -> None:
    shelf = Shelf()
    shelf.put("ConfigMap", "c", data={"k": "content"})
    volumes = volumes_of(pod_with({"name": "v", "configMap": {"name": "c"}}), tmp_path / "pod", tmp_path)
    volumes.prepare(shelf)
    file, other = tmp_path / "pod" / "volumes" / "v" / "k", tmp_path / "other"
    other.write_text("content")
    file.unlink()
    file.symlink_to(other)
    volumes.prepare(shelf)
    assert (file.is_symlink(), file.read_text(), other.read_text()) == (False, "content", "content")


# -- logs -------------------------------------------------------------------------------------------


def write(logs: LogFiles, run: int, text: str) -> None:
    descriptor = logs.open(run)
    os.write(descriptor, text.encode())
    os.close(descriptor)


async def collected(logs: LogFiles, **options: Any) -> str:
    given = {"follow": False, "tail": None, "ended": lambda: True, **options}
    return b"".join([piece async for piece in read(logs, **given)]).decode()


async def test_logs_keep_the_last_two_runs(tmp_path: Path) -> None:
    logs = LogFiles(tmp_path / "logs")
    assert await collected(logs) == ""
    for run in range(4):
        write(logs, run, f"run {run}\nlast\n")
    assert sorted(file.name for file in (tmp_path / "logs").iterdir()) == ["2.log", "3.log"]
    assert await collected(logs) == "run 3\nlast\n"
    assert await collected(logs, tail=1) == "last\n"
    assert await collected(logs, tail=0) == ""
    assert await collected(logs, previous=True, tail=1) == "last\n"
    assert await collected(logs, previous=True) == "run 2\nlast\n"


async def test_following_goes_on_over_a_restart_until_the_end(tmp_path: Path) -> None:
    logs, over = LogFiles(tmp_path), asyncio.Event()
    write(logs, 0, "a\nb\n")
    seen: list[bytes] = []

    async def follow() -> None:
        async for piece in read(logs, follow=True, tail=1, ended=over.is_set):
            # Seen while it is still going on, which is the point.
            seen.extend([piece])

    async def until(text: bytes) -> None:
        async with asyncio.timeout(HANGS):
            while text not in b"".join(seen):  # noqa: ASYNC110 - files tell nobody
                await asyncio.sleep(0.01)

    task = asyncio.create_task(follow())
    await until(b"b\n")
    write(logs, 1, "c\n")
    await until(b"c\n")
    over.set()
    async with asyncio.timeout(HANGS):
        await task
    assert b"".join(seen) == b"b\nc\n"


@given(st.text(alphabet="ab\n"), st.integers(0, 5))
def test_last_lines_are_what_tail_shows(text: str, count: int) -> None:
    lines = text.splitlines(keepends=True)
    assert last_lines(text.encode(), count).decode() == "".join(lines[len(lines) - min(count, len(lines)) :])


# -- probes -----------------------------------------------------------------------------------------


def verdicts(
    probe: Object, answers: Callable[[float], bool], *, healthy: bool, until: float
) -> list[tuple[float, bool]]:
    """What is said, and when, of a thing whose health is a function of time."""
    said: list[tuple[float, bool]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def ask() -> str | None:
            return None if answers(loop.time()) else "no"

        def verdict(success: bool, _: str) -> None:
            said.append((round(loop.time(), 2), success))

        task = asyncio.create_task(probes.watch(probe, ask, verdict, healthy=healthy))
        await asyncio.sleep(until)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run_virtual(main())
    return said


def test_a_thing_that_comes_up_is_noticed_soon_and_not_given_up_early() -> None:
    probe = {"periodSeconds": 10, "failureThreshold": 3}
    said = verdicts(probe, lambda now: now >= 14, healthy=False, until=15)
    assert said == [(14.0, True)]
    never = verdicts(probe, lambda _: False, healthy=False, until=25)
    assert never == [(20.0, False)]


def test_a_healthy_thing_fails_after_its_threshold_only() -> None:
    probe = {"periodSeconds": 10, "failureThreshold": 3}
    said = verdicts(probe, lambda now: not 15 <= now < 36, healthy=True, until=39)
    assert [success for _, success in said] == [True, True]
    said = verdicts(probe, lambda now: now < 15, healthy=True, until=41)
    assert said[-1] == (40.0, False)


def test_a_silent_probe_times_out() -> None:
    said: list[str] = []

    async def main() -> None:
        async def ask() -> str | None:
            await asyncio.sleep(100)
            return None

        watching = probes.watch(
            {"timeoutSeconds": 2, "failureThreshold": 1}, ask, lambda _, why: said.append(why), healthy=True
        )
        task = asyncio.create_task(watching)
        await asyncio.sleep(5)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run_virtual(main())
    assert said[0] == "no answer within 2 s"


async def test_asking_over_real_sockets() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        status = "200 OK" if b"/ok" in line else "503 Nope"
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    container = {"ports": [{"name": "web", "containerPort": port}]}

    async def run(command: Any) -> int:
        return int(command[0])

    async def ask(probe: Object) -> str | None:
        return await probes.asker(probe, container, "127.0.0.1", run)()

    assert await ask({"httpGet": {"path": "/ok", "port": "web"}}) is None
    assert await ask({"httpGet": {"path": "/bad", "port": port}}) == "HTTP 503: body"
    assert await ask({"httpGet": {"port": "none"}}) == 'no port is called "none"'
    assert await ask({"tcpSocket": {"port": port}}) is None
    assert await ask({"exec": {"command": ["0"]}}) is None
    assert await ask({"exec": {"command": ["3"]}}) == "the command ended with exit code 3"
    server.close()
    await server.wait_closed()
    assert "Connect call failed" in str(await ask({"tcpSocket": {"port": port}}))


# -- statuses ---------------------------------------------------------------------------------------


def conditions(status: Object) -> dict[str, str]:
    return {entry["type"]: entry["status"] for entry in status["conditions"]}


def test_a_pods_status_through_its_life() -> None:
    pod: Object = {"metadata": {"name": "p"}, "spec": {}}
    record = ContainerRecord({"name": "main", "image": "i"})
    status = pod_status(pod, "127.1.0.1", [], [record], T0, T0)
    assert status["phase"] == "Pending"
    assert conditions(status)["Ready"] == "False"
    record.run(T0, "sandbox://1")
    record.started = record.ready = True
    pod["status"] = status = pod_status(pod, "127.1.0.1", [], [record], T1, T0)
    assert (status["phase"], conditions(status)["Ready"]) == ("Running", "True")
    again = pod_status(pod, "127.1.0.1", [], [record], "2028-01-01T00:00:00Z", T0)
    assert again == status
    record.end(T1, 1)
    record.wait("CrashLoopBackOff", "back-off")
    crashed = pod_status(pod, "127.1.0.1", [], [record], T1, T0)
    [entry] = crashed["containerStatuses"]
    assert crashed["phase"] == "Running"
    assert entry["state"] == {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}
    assert entry["lastState"]["terminated"]["exitCode"] == 1
    record.run(T1, "sandbox://2")
    record.end(T1, 0)
    record.finished = True
    done = pod_status(pod, "127.1.0.1", [], [record], T1, T0)
    assert done["phase"] == "Succeeded"
    assert done["conditions"][2]["reason"] == "PodCompleted"


def test_a_failed_init_container_fails_the_pod() -> None:
    init, main = ContainerRecord({"name": "i"}), ContainerRecord({"name": "m"})
    init.run(T0, "x")
    init.end(T0, 3)
    init.finished = True
    status = pod_status({"metadata": {}, "spec": {}}, "ip", [init], [main], T0, T0)
    assert status["phase"] == "Failed"
    assert conditions(status)["Initialized"] == "False"


def test_a_readiness_gate_holds_the_pod_back() -> None:
    record = ContainerRecord({"name": "m"})
    record.run(T0, "x")
    record.ready = True
    pod: Object = {"metadata": {}, "spec": {"readinessGates": [{"conditionType": "gate"}]}}
    found = conditions(pod_status(pod, "ip", [], [record], T0, T0))
    assert (found["Ready"], found["ContainersReady"]) == ("False", "True")
    pod["status"] = {"conditions": [{"type": "gate", "status": "True"}]}
    found = conditions(pod_status(pod, "ip", [], [record], T0, T0))
    assert (found["Ready"], found["gate"]) == ("True", "True")


def test_what_an_earlier_node_ran_has_ended_with_it() -> None:
    spec = {"name": "m"}
    running = {"name": "m", "restartCount": 2, "state": {"running": {"startedAt": T0}}, "containerID": "c"}
    record = recall(spec, [running])
    assert record.restarts == 3
    assert record.last_state["terminated"]["exitCode"] == 137
    assert "waiting" in record.state
    ended = {"name": "m", "restartCount": 1, "state": {"terminated": {"exitCode": 0}}}
    record = recall(spec, [ended])
    assert (record.restarts, record.state) == (1, {"terminated": {"exitCode": 0}})
    assert recall(spec, []).restarts == 0
