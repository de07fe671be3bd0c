"""Whether the Secrets that a service names exist, as far as the operator may look."""

from __future__ import annotations

from collections.abc import Mapping

from controllers.objects.kinds import SECRET
from controllers.objects.specs import spec_of
from controllers.references.services import service_secrets
from informers.client import Client
from informers.errors import ApiError, NotFound, TransportError
from informers.objects import Object, ObjectKey

LOOK_AGAIN = 15.0
"""Seconds after which a Secret that was missing is looked for again: Secrets are not watched."""


async def secrets_problem(client: Client, obj: Object) -> str:
    """Which Secret or key of ``spec.grpc.tls`` is missing, or "": also where Secrets cannot be read."""
    authority, pair = service_secrets(spec_of(obj))
    wanted: Mapping[str, tuple[str, ...]] = {
        "caSecretName": ("ca.crt",),
        "clientSecretName": ("tls.crt", "tls.key"),
    }
    for (field, keys), name in zip(wanted.items(), (authority, pair), strict=True):
        if name and (problem := await _missing(client, obj["metadata"]["namespace"], name, keys)):
            return f"spec.grpc.tls.{field}: {problem}"
    return ""


async def _missing(client: Client, namespace: str, name: str, keys: tuple[str, ...]) -> str:
    try:
        found = await client.get(SECRET, ObjectKey(namespace, name))
    except NotFound:
        return f"Secret {name} does not exist in namespace {namespace}"
    except (ApiError, TransportError):
        # As a rule the operator has no permission: the members mount the Secret all the same.
        return ""
    absent = [key for key in keys if not (found.get("data") or {}).get(key)]
    return f"Secret {name} has no {absent[0]}" if absent else ""
