"""Growing the volumes of a cluster through their claims."""

from __future__ import annotations

from controllers.objects.kinds import PVC, STORAGE_CLASS
from controllers.wiring.context import Context
from informers.errors import Forbidden, Invalid, NotFound
from informers.objects import ObjectKey


async def grow_claim(context: Context, key: ObjectKey, size: str, manager: str) -> str:
    """Patch one claim; returns why it cannot grow, or ""."""
    problem = await _expansion_problem(context, key)
    if problem:
        return problem
    patch = {"spec": {"resources": {"requests": {"storage": size}}}}
    try:
        answer = await context.client.patch(PVC, key, patch, field_manager=manager)
    except NotFound:
        return ""
    except (Forbidden, Invalid) as error:
        return str(error)
    context.informers[PVC].written(answer)
    return ""


async def _expansion_problem(context: Context, key: ObjectKey) -> str:
    """Why the claim's class does not let it grow; "" when it does or when that is unknown."""
    view = context.informers[PVC].get(key)
    name = view.object()["spec"].get("storageClassName") if view else None
    if not name:
        return "it has no storage class and cannot be expanded"
    try:
        found = await context.client.get(STORAGE_CLASS, ObjectKey("", name))
    except NotFound:
        return f"its storage class {name} does not exist"
    except Forbidden:
        return ""
    return "" if found.get("allowVolumeExpansion") else f"storage class {name} does not allow expansion"
