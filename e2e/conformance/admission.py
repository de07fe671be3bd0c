"""What is asked of a server's default admission, and the answers of a real one.

``python -m e2e.conformance.admission KUBECONFIG`` records them on a kube-apiserver of the pinned version.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from e2e.plainly import session
from informers.objects import Object

RECORDED = Path(__file__).with_name("admission.json")
NAMESPACE = "admission-check"

_PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
_CLAIMS = f"/api/v1/namespaces/{NAMESPACE}/persistentvolumeclaims"
_NAMESPACES = "/api/v1/namespaces"
_PRIORITIES = "/apis/scheduling.k8s.io/v1/priorityclasses"
_RUNTIMES = "/apis/node.k8s.io/v1/runtimeclasses"
_STORAGE = "/apis/storage.k8s.io/v1/storageclasses"
_INGRESSES = f"/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/ingresses"
_INGRESS_CLASSES = "/apis/networking.k8s.io/v1/ingressclasses"
_DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
_LABEL = "pod-security.kubernetes.io/"
_MERGE = "application/merge-patch+json"
_WARNING = re.compile(r'299 - "((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Ask:
    """One request.

    :param title: names it among the answers.
    :param fields: dotted paths of the answer's fields that are compared.
    """

    title: str
    method: str
    path: str
    body: Any = None
    content_type: str = "application/json"
    fields: tuple[str, ...] = ()


def pod(**spec: Any) -> Object:
    """A pod that the restricted standard takes, unless ``spec`` says otherwise."""
    return {"metadata": {"name": "p"}, "spec": {**_harmless(), **spec}}


def container(**context: Any) -> Object:
    """A container the restricted standard takes, unless its security context says otherwise."""
    harmless = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    return {"name": "c", "image": "i:1", "securityContext": {**harmless, **context}}


def _harmless() -> Object:
    context = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    return {"containers": [container()], "securityContext": context}


_PLAIN: Object = {"name": "c", "image": "i:1"}
_PROBE = {"httpGet": {"port": 1, "host": "example.com"}}
_UNSAFE: Mapping[str, Object] = {
    "nothing said": {"containers": [_PLAIN], "securityContext": {}},
    "two containers": {"containers": [_PLAIN, {**_PLAIN, "name": "d"}], "securityContext": {}},
    "host namespaces": pod(hostNetwork=True, hostPID=True, hostIPC=True)["spec"],
    "host path": pod(volumes=[{"name": "v", "hostPath": {"path": "/"}}])["spec"],
    "network volume": pod(volumes=[{"name": "v", "nfs": {"server": "s", "path": "/"}}])["spec"],
    "host port": pod(containers=[{**container(), "ports": [{"containerPort": 1, "hostPort": 2}]}])["spec"],
    "probed host": pod(containers=[{**container(), "livenessProbe": _PROBE}])["spec"],
    "capabilities": pod(containers=[container(capabilities={"add": ["SYS_ADMIN", "CHOWN"]})])["spec"],
    "root": pod(securityContext={"runAsNonRoot": False, "runAsUser": 0})["spec"],
    "root in a user namespace": pod(hostUsers=False, securityContext={"runAsUser": 0})["spec"],
    "unconfined": pod(
        securityContext={
            "runAsNonRoot": True,
            "seccompProfile": {"type": "Unconfined"},
            "appArmorProfile": {"type": "Unconfined"},
        }
    )["spec"],
    "linux options": pod(
        securityContext={"seLinuxOptions": {"type": "odd", "user": "u", "role": "r"}, "runAsNonRoot": True}
    )["spec"],
    "sysctls": pod(
        securityContext={"sysctls": [{"name": "kernel.msgmax", "value": "1"}], "runAsNonRoot": True}
    )["spec"],
}


def asks() -> Iterator[Ask]:
    """All of them, in their order; what they make is removed by the last ones."""
    yield Ask("namespace", "POST", _NAMESPACES, {"metadata": {"name": NAMESPACE}})
    yield from _about_priority()
    yield from _about_runtimes()
    yield from _about_classes()
    yield from _about_security()
    yield Ask("end: namespace", "DELETE", f"{_NAMESPACES}/{NAMESPACE}")


def _about_priority() -> Iterator[Ask]:
    fields = ("spec.priority", "spec.priorityClassName", "spec.preemptionPolicy", "spec.tolerations")
    dry = f"{_PODS}?dryRun=All"

    def priority_class(name: str, value: int, **more: Any) -> Object:
        return {"metadata": {"name": name}, "value": value, **more}

    yield Ask("priority: none", "POST", dry, pod(), fields=fields)
    yield Ask("priority: given and right", "POST", dry, pod(priority=0), fields=fields)
    yield Ask("priority: given and wrong", "POST", dry, pod(priority=5), fields=fields)
    yield Ask("priority: unknown", "POST", dry, pod(priorityClassName="odd"), fields=fields)
    system = pod(priorityClassName="system-cluster-critical")
    yield Ask("priority: of the system", "POST", dry, system, fields=fields)
    yield Ask("priority: class", "POST", _PRIORITIES, priority_class("ac-high", 7, preemptionPolicy="Never"))
    yield Ask("priority: of a class", "POST", dry, pod(priorityClassName="ac-high"), fields=fields)
    other = pod(priorityClassName="ac-high", preemptionPolicy="PreemptLowerPriority")
    yield Ask("priority: of another policy", "POST", dry, other, fields=fields)
    default = priority_class("ac-default", 3, globalDefault=True)
    yield Ask("priority: default class", "POST", _PRIORITIES, default)
    yield Ask("priority: second default", "POST", _PRIORITIES, priority_class("ac-2", 3, globalDefault=True))
    yield Ask("end: default class", "DELETE", f"{_PRIORITIES}/ac-default")
    yield Ask("end: class", "DELETE", f"{_PRIORITIES}/ac-high")
    seconds = {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "tolerationSeconds": 5}
    own = pod(tolerations=[{**seconds, "effect": "NoExecute"}])
    yield Ask("tolerations: its own", "POST", dry, own, fields=fields)
    everything = pod(tolerations=[{"operator": "Exists"}])
    yield Ask("tolerations: of everything", "POST", dry, everything, fields=fields)


def _about_runtimes() -> Iterator[Ask]:
    fields = ("spec.overhead", "spec.nodeSelector", "spec.runtimeClassName")
    dry = f"{_PODS}?dryRun=All"
    yield Ask("runtime: unknown", "POST", dry, pod(runtimeClassName="odd"), fields=fields)
    runtime = {
        "metadata": {"name": "ac-runtime"},
        "handler": "runsc",
        "overhead": {"podFixed": {"cpu": "1"}},
        "scheduling": {"nodeSelector": {"a": "b"}},
    }
    yield Ask("runtime: class", "POST", _RUNTIMES, runtime)
    yield Ask("runtime: of a class", "POST", dry, pod(runtimeClassName="ac-runtime"), fields=fields)
    elsewhere = pod(runtimeClassName="ac-runtime", nodeSelector={"a": "c"})
    yield Ask("runtime: on other nodes", "POST", dry, elsewhere, fields=fields)
    yield Ask("runtime: overhead of nothing", "POST", dry, pod(overhead={"cpu": "1"}), fields=fields)
    heavier = pod(runtimeClassName="ac-runtime", overhead={"cpu": "2"})
    yield Ask("runtime: another overhead", "POST", dry, heavier, fields=fields)
    yield Ask("end: runtime", "DELETE", f"{_RUNTIMES}/ac-runtime")


def _about_classes() -> Iterator[Ask]:
    requests = {"resources": {"requests": {"storage": "1Gi"}}}
    claim: Object = {"metadata": {"name": "c"}, "spec": {"accessModes": ["ReadWriteOnce"], **requests}}
    marks = {"storageclass.kubernetes.io/is-default-class": "true"}
    fast = {"metadata": {"name": "ac-fast", "annotations": marks}, "provisioner": "example.com/none"}
    fields = ("spec.storageClassName",)
    dry = f"{_CLAIMS}?dryRun=All"
    yield Ask("storage: default", "POST", _STORAGE, fast)
    yield Ask("storage: of the default class", "POST", dry, claim, fields=fields)
    none = {**claim, "spec": {**claim["spec"], "storageClassName": ""}}
    yield Ask("storage: of no class", "POST", dry, none, fields=fields)
    yield Ask("storage: claim", "POST", _CLAIMS, {**claim, "spec": {**none["spec"]}}, fields=fields)
    yield Ask("end: claim", "DELETE", f"{_CLAIMS}/c")
    yield Ask("end: storage class", "DELETE", f"{_STORAGE}/ac-fast")
    backend = {"service": {"name": "s", "port": {"number": 80}}}
    ingress = {"metadata": {"name": "i"}, "spec": {"defaultBackend": backend}}
    marks = {"ingressclass.kubernetes.io/is-default-class": "true"}
    kind = {"metadata": {"name": "ac-way", "annotations": marks}, "spec": {"controller": "example.com/none"}}
    yield Ask("ingress: class", "POST", _INGRESS_CLASSES, kind)
    dry = f"{_INGRESSES}?dryRun=All"
    yield Ask("ingress: of the default class", "POST", dry, ingress, fields=("spec.ingressClassName",))
    yield Ask("end: ingress class", "DELETE", f"{_INGRESS_CLASSES}/ac-way")


def _about_security() -> Iterator[Ask]:
    def labelled(**modes: str | None) -> Ask:
        labels = {_LABEL + mode.replace("_", "-"): level for mode, level in modes.items()}
        body = {"metadata": {"labels": labels}}
        title = ", ".join(f"{mode} {level}" for mode, level in modes.items())
        return Ask(f"security: {title}", "PATCH", f"{_NAMESPACES}/{NAMESPACE}", body, _MERGE)

    dry = f"{_PODS}?dryRun=All"
    bare = {"metadata": {"name": "running"}, "spec": {"containers": [_PLAIN]}}
    yield Ask("security: pod without a level", "POST", _PODS, bare)
    yield labelled(enforce="odd", warn_version="1.2")
    yield labelled(enforce="baseline")
    for name, spec in _UNSAFE.items():
        body = {"metadata": {"name": "p"}, "spec": spec}
        yield Ask(f"security: baseline, {name}", "POST", dry, body)
    yield labelled(enforce="restricted", enforce_version="latest")
    yield Ask("security: restricted, harmless", "POST", dry, pod())
    for name, spec in _UNSAFE.items():
        body = {"metadata": {"name": "p"}, "spec": spec}
        yield Ask(f"security: restricted, {name}", "POST", dry, body)
    image = {"spec": {"containers": [{"name": "c", "image": "i:2"}]}}
    strategic = "application/strategic-merge-patch+json"
    yield Ask("security: running, another image", "PATCH", f"{_PODS}/running", image, strategic)
    label = {"metadata": {"labels": {"a": "b"}}}
    yield Ask("security: running, another label", "PATCH", f"{_PODS}/running", label, _MERGE)
    selector = {"matchLabels": {"a": "b"}}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [_PLAIN]}}
    deployment = {
        "metadata": {"name": "d"},
        "spec": {"replicas": 0, "selector": selector, "template": template},
    }
    yield Ask("security: template", "POST", f"{_DEPLOYMENTS}?dryRun=All", deployment)
    yield labelled(enforce="privileged", warn="baseline", audit="restricted")
    risky = {"metadata": {"name": "p"}, "spec": _UNSAFE["host namespaces"]}
    yield Ask("security: only warned", "POST", dry, risky)
    yield labelled(enforce=None, warn=None, audit=None, enforce_version=None)
    yield Ask("security: nothing asked for", "POST", dry, risky)
    yield Ask("end: pod", "DELETE", f"{_PODS}/running?gracePeriodSeconds=0")


async def answers(kubeconfig: Path) -> dict[str, Object]:
    """A server's answers by title."""
    async with session(kubeconfig) as http:
        return {ask.title: await _answer(http, ask) for ask in asks()}


async def _answer(http: aiohttp.ClientSession, ask: Ask) -> Object:
    headers = {"Content-Type": ask.content_type}
    data = json.dumps(ask.body) if ask.body is not None else None
    async with http.request(ask.method, ask.path, data=data, headers=headers) as response:
        body = await response.json(content_type=None)
        warnings = [
            match.group(1).replace('\\"', '"')
            for line in response.headers.getall("Warning", ())
            for match in _WARNING.finditer(line)
        ]
        found: Object = {"code": response.status}
        if warnings:
            found["warnings"] = warnings
        if response.status >= 400:
            found["message"] = body["message"]
        for field in ask.fields if response.status < 400 else ():
            found[field] = _at(body, field)
        return found


def _at(value: Any, path: str) -> Any:
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m e2e.conformance.admission")
    parser.add_argument("kubeconfig", type=Path, help="of a kube-apiserver of the pinned version")
    found = asyncio.run(answers(parser.parse_args().kubeconfig))
    RECORDED.write_text(json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
