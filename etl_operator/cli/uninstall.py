"""``etl-operator uninstall``: deletes the objects while an operator can remove its finalizers, then the
operator, then, with ``--crds``, the CRDs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import click

from etl_operator.api import CLUSTER, PIPELINE, SINK, SOURCE, TRANSFORM
from informers.client import Client, HttpTransport, load_default
from informers.errors import Conflict, NotFound
from informers.objects import Object, ObjectKey, Resource

_RBAC = "rbac.authorization.k8s.io"
_DEFINITION = Resource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False
)
_DEPLOYMENT = Resource("apps", "v1", "deployments", "Deployment")
# Roles and accounts are deleted last: the operator needs them until it has stopped.
_PARTS = (
    _DEPLOYMENT,
    Resource("", "v1", "services", "Service"),
    Resource(_RBAC, "v1", "rolebindings", "RoleBinding"),
    Resource(_RBAC, "v1", "roles", "Role"),
    Resource(_RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False),
    Resource(_RBAC, "v1", "clusterroles", "ClusterRole", namespaced=False),
    Resource("", "v1", "serviceaccounts", "ServiceAccount"),
    Resource("", "v1", "namespaces", "Namespace", namespaced=False),
)
# Services wait for the pipelines that use them; pipelines must be removed from clusters that still run.
_KINDS = (PIPELINE, SOURCE, TRANSFORM, SINK, CLUSTER)
_OURS = "app.kubernetes.io/name=etl-operator"
_FINALIZERS = ("etl.router/pipeline", "etl.router/service")
_POLL = 0.5
_QUIET = 10.0
"""Seconds to wait for finalizers if no operator runs in the cluster."""


@dataclass(frozen=True, slots=True)
class UninstallSettings:
    """The options of ``etl-operator uninstall``; ``--help`` describes each."""

    kubeconfig: Path | None = None
    context: str | None = None
    crds: bool = False
    yes: bool = False
    timeout: float = 120.0


class Incomplete(Exception):
    """Some objects could not be deleted; the text says which, and what to do."""


async def run_uninstall(settings: UninstallSettings) -> None:
    """Uninstall, and print each step.

    :raises Incomplete: when an object cannot be deleted, or must be deleted with Helm.
    :raises informers.errors.RuntimeFault: when the server cannot be reached, or rejects a request.
    """
    access = load_default(str(settings.kubeconfig) if settings.kubeconfig else None, context=settings.context)
    client = Client(HttpTransport(access))
    try:
        await Uninstall(client, settings, click.echo).run(access.server)
    finally:
        await client.close()


class Uninstall:
    """One uninstallation.

    :param say: prints a line about a step.
    """

    def __init__(self, client: Client, settings: UninstallSettings, say: Callable[[str], None]) -> None:
        self._client = client
        self._settings = settings
        self._say = say

    async def run(self, server: str) -> None:
        """All steps, in order. Objects that do not exist are skipped, so that it can be run again."""
        objects = [obj for kind in _KINDS for obj in await self._list(kind)]
        self._confirm(server, objects)
        await self._delete_objects()
        helm = await self._delete_operator()
        if self._settings.crds:
            await self._delete_definitions()
        else:
            self._say("the CRDs are retained; use --crds to delete them too")
        if helm:
            raise Incomplete(f"the operator was installed with Helm; to delete it, run: {'; '.join(helm)}")

    def _confirm(self, server: str, objects: list[Object]) -> None:
        counts = {kind.kind: sum(obj["kind"] == kind.kind for obj in objects) for kind in _KINDS}
        found = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count) or "no objects"
        self._say(f"{server}: {found}, the operator" + (", the CRDs" if self._settings.crds else ""))
        if not self._settings.yes:
            click.confirm("Delete all of these, in all namespaces?", abort=True)

    # -- objects ------------------------------------------------------------------------------------

    async def _delete_objects(self) -> None:
        for kinds in ((PIPELINE,), (SOURCE, TRANSFORM, SINK), (CLUSTER,)):
            left = [obj for kind in kinds for obj in await self._list(kind)]
            if left:
                self._say(f"deleting {len(left)} {', '.join(kind.kind for kind in kinds)}")
            for obj in left:
                await self._delete(_resource_of(obj), obj)
            await self._gone(kinds)

    async def _gone(self, kinds: Iterable[Resource]) -> None:
        """Wait until an operator has removed all finalizers; if there is none, remove them here."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while left := [obj for kind in kinds for obj in await self._list(kind)]:
            waited = loop.time() - began
            deadline = self._settings.timeout if await self._operator_runs() else _QUIET
            if waited >= min(deadline, self._settings.timeout):
                for obj in left:
                    await self._let_go(obj)
                held = [obj for kind in kinds for obj in await self._list(kind)]
                if held:
                    raise Incomplete(f"not deleted: {', '.join(map(_name, held))}; see metadata.finalizers")
                return
            await asyncio.sleep(_POLL)

    async def _operator_runs(self) -> bool:
        found = await self._list(_DEPLOYMENT, _OURS)
        return any((one.get("status") or {}).get("readyReplicas") for one in found)

    async def _let_go(self, obj: Object) -> None:
        """Remove the operator's finalizers, and no others."""
        meta = obj["metadata"]
        kept = [one for one in meta.get("finalizers") or () if one not in _FINALIZERS]
        if len(kept) == len(meta.get("finalizers") or ()):
            return
        self._say(
            f"no operator has processed {_name(obj)}: removing its finalizer; it may still be in a router"
        )
        patch = {"metadata": {"resourceVersion": meta["resourceVersion"], "finalizers": kept or None}}
        try:
            await self._client.patch(_resource_of(obj), ObjectKey.of(obj), patch)
        except (NotFound, Conflict):
            # Deleted or changed by another client in the meantime.
            return

    # -- the operator and the CRDs --------------------------------------------------------------------

    async def _delete_operator(self) -> list[str]:
        """Returns the commands that delete what Helm installed."""
        helm: dict[str, None] = {}
        for kind in _PARTS:
            for obj in await self._list(kind, _OURS):
                labels = obj["metadata"].get("labels") or {}
                notes = obj["metadata"].get("annotations") or {}
                if labels.get("app.kubernetes.io/managed-by") == "Helm":
                    release, namespace = (
                        notes.get(f"meta.helm.sh/release-{n}") for n in ("name", "namespace")
                    )
                    helm[f"helm uninstall {release} --namespace {namespace}"] = None
                    continue
                self._say(f"deleting {_name(obj)}")
                await self._delete(kind, obj)
        return list(helm)

    async def _delete_definitions(self) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._settings.timeout
        names = [f"{kind.plural}.{kind.group}" for kind in _KINDS]
        for name in names:
            try:
                await self._client.delete(_DEFINITION, ObjectKey("", name))
            except NotFound:
                continue
            self._say(f"deleting {_DEFINITION.kind} {name}")
        while left := [obj for obj in await self._list(_DEFINITION) if obj["metadata"]["name"] in names]:
            if loop.time() >= end:
                raise Incomplete(f"not deleted: {', '.join(map(_name, left))}; see their conditions")
            await asyncio.sleep(_POLL)

    # -- below ----------------------------------------------------------------------------------------

    async def _list(self, resource: Resource, label_selector: str = "") -> list[Object]:
        try:
            return (await self._client.list(resource, label_selector=label_selector)).items
        except NotFound:
            # The kind does not exist.
            return []

    async def _delete(self, resource: Resource, obj: Object) -> None:
        try:
            await self._client.delete(resource, ObjectKey.of(obj), uid=obj["metadata"]["uid"])
        except (NotFound, Conflict):
            # Already deleted, or replaced by another object of the same name.
            return


def _resource_of(obj: Object) -> Resource:
    return next(kind for kind in _KINDS if kind.kind == obj["kind"])


def _name(obj: Object) -> str:
    key = ObjectKey.of(obj)
    return f"{obj['kind']} {f'{key.namespace}/' if key.namespace else ''}{key.name}"
