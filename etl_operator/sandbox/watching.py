"""Applying manifests through the API server and following what becomes of them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from etl_operator.sandbox.manifests import ManifestError
from etl_operator.sandbox.progress import State, readiness
from informers.cache.informer import Delta, Informer
from informers.client import Client
from informers.clock import SystemClock, timestamp
from informers.errors import ApiError, NotFound, TooManyRequests
from informers.objects import Object, ObjectKey, Resource

FIELD_MANAGER = "etl-operator-sandbox"
_CRD = "CustomResourceDefinition"
_ESTABLISHED_WITHIN = 30.0


@dataclass(frozen=True, slots=True)
class Applied:
    """Where an applied object is found again."""

    resource: Resource
    key: ObjectKey

    @property
    def name(self) -> str:
        """``Kind/name``, with the namespace unless it is the default one."""
        namespace = self.key.namespace
        suffix = f" in {namespace}" if namespace not in ("", "default") else ""
        return f"{self.resource.kind}/{self.key.name}{suffix}"


class Discovery:
    """Finds the resource of a kind by asking the server, once per group version."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._known: dict[tuple[str, str], Resource] = {}

    async def resource(self, obj: Object) -> Resource:
        """:raises ManifestError: when the server does not know the object's kind."""
        api_version, kind = obj["apiVersion"], obj["kind"]
        if (api_version, kind) not in self._known:
            await self._learn(api_version)
        try:
            return self._known[api_version, kind]
        except KeyError:
            raise ManifestError(
                f"{kind}/{obj['metadata']['name']}: the API server has no kind {kind} in {api_version}"
            ) from None

    async def _learn(self, api_version: str) -> None:
        group, _, version = api_version.rpartition("/")
        root = f"/apis/{group}/{version}" if group else f"/api/{version}"
        try:
            listing = await self._client.raw("GET", root)
        except NotFound:
            return
        for entry in listing["resources"]:
            if "/" not in entry["name"]:
                self._known[api_version, entry["kind"]] = Resource(
                    group, version, entry["name"], entry["kind"], entry["namespaced"]
                )


async def apply_all(client: Client, objects: Sequence[Object]) -> list[Applied]:
    """Server-side apply in order, definitions and namespaces before what needs them.

    :raises ManifestError: naming every object the server refused, each with the server's own words.
    """
    discovery = Discovery(client)
    applied: list[Applied] = []
    refused: list[str] = []
    new_kinds: list[Applied] = []
    for obj in sorted(objects, key=_rank):
        try:
            if obj["kind"] != _CRD:
                # All at once: each takes its moment to be established.
                await asyncio.gather(*(_established(client, one) for one in new_kinds))
                new_kinds.clear()
            resource = await discovery.resource(obj)
            metadata = dict(obj["metadata"])
            if resource.namespaced:
                metadata.setdefault("namespace", "default")
            body = {**obj, "metadata": metadata}
            await client.apply(resource, body, field_manager=FIELD_MANAGER, force=True)
            applied.append(Applied(resource, ObjectKey.of(body)))
            if obj["kind"] == _CRD:
                new_kinds.append(applied[-1])
        except ManifestError as error:
            refused.append(str(error))
        except ApiError as error:
            refused.append(f"{obj['kind']}/{obj['metadata']['name']}: {error}")
    await asyncio.gather(*(_established(client, one) for one in new_kinds))
    if refused:
        raise ManifestError("the API server rejected:\n  " + "\n  ".join(refused))
    return applied


async def forget_readiness(client: Client, api_version: str) -> None:
    """Withdraw every ``Ready`` of a group version's objects: after a restart nobody knows yet.

    What an earlier sandbox left in the statuses was true of processes that have ended with it.
    """
    for resource in await _kinds(client, api_version):
        for obj in await _all(client, resource):
            conditions = (obj.get("status") or {}).get("conditions") or ()
            changed = [_unknown(one) if one["type"] == "Ready" else one for one in conditions]
            if changed:
                patch = {"status": {"conditions": changed}}
                await client.patch(
                    resource, ObjectKey.of(obj), patch, subresource="status", field_manager=FIELD_MANAGER
                )


async def _all(client: Client, resource: Resource) -> Sequence[Object]:
    """Every object. A server that has just started may first ask for patience with defined kinds."""
    async with asyncio.timeout(_ESTABLISHED_WITHIN):
        while True:
            try:
                return (await client.list(resource)).items
            except TooManyRequests as error:
                await asyncio.sleep(min(error.retry_after or 1.0, 1.0))


def _unknown(condition: Object) -> Object:
    return {
        **condition,
        "status": "Unknown",
        "reason": "SandboxRestarted",
        "message": "the sandbox was restarted",
        "lastTransitionTime": timestamp(SystemClock().time()),
    }


async def follow(
    client: Client,
    applied: Sequence[Applied],
    changed: Callable[[str, State | None], None],
    *,
    also: str | None = None,
) -> None:
    """Report the readiness of every applied object, now and whenever it changes, until cancelled.

    :param changed: called with the name of an object and its state; ``None`` when it was deleted.
    :param also: a group version, such as ``etl.router/v1``: every object of its kinds is reported too, also
        those that are created later.
    """
    everything = await _kinds(client, also) if also else []
    # By resource and namespace, "" for all; of all objects there when the keys are None.
    places: dict[tuple[Resource, str], set[ObjectKey] | None] = dict.fromkeys(
        (resource, "") for resource in everything
    )
    for one in applied:
        if one.resource not in everything:
            keys = places.setdefault((one.resource, one.key.namespace), set())
            if keys is not None:
                keys.add(one.key)

    def handler(resource: Resource, keys: set[ObjectKey] | None) -> Callable[[Delta], None]:
        def handle(delta: Delta) -> None:
            view = delta.new or delta.old
            if view is not None and (keys is None or view.key in keys):
                state = readiness(delta.new.object()) if delta.new else None
                changed(Applied(resource, view.key).name, state)

        return handle

    async with asyncio.TaskGroup() as group:
        for (resource, namespace), keys in places.items():
            informer = Informer(
                client,
                resource,
                namespace=namespace,
                clock=SystemClock(),
                rng=random.Random(),  # noqa: S311
            )
            informer.add_handler(handler(resource, keys))
            group.create_task(informer.run())
        if not places:
            # Nothing to follow is no end of following.
            await asyncio.Event().wait()


async def _kinds(client: Client, api_version: str) -> list[Resource]:
    """The kinds of a group version; none when the server does not serve it."""
    try:
        listing = await client.raw("GET", f"/apis/{api_version}")
    except NotFound:
        return []
    group, _, version = api_version.partition("/")
    return [
        Resource(group, version, entry["name"], entry["kind"], entry["namespaced"])
        for entry in listing["resources"]
        if "/" not in entry["name"]
    ]


def _rank(obj: Object) -> int:
    return {"Namespace": 0, _CRD: 1}.get(obj["kind"], 2)


async def _established(client: Client, crd: Applied) -> None:
    """Wait until a definition's kind is served and shown; until then what follows would get a 404."""
    async with asyncio.timeout(_ESTABLISHED_WITHIN):
        while True:
            definition = await client.get(crd.resource, crd.key)
            if readiness(definition).ready and await _is_shown(client, definition["spec"]):
                return
            await asyncio.sleep(0.05)


async def _is_shown(client: Client, spec: Object) -> bool:
    """Whether discovery lists the kind in every served version; it follows a moment later."""
    for version in spec["versions"]:
        if version["served"]:
            try:
                listing = await client.raw("GET", f"/apis/{spec['group']}/{version['name']}")
            except NotFound:
                return False
            if all(entry["name"] != spec["names"]["plural"] for entry in listing["resources"]):
                return False
    return True
