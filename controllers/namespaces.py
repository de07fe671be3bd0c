"""Whether a namespace is on its way out: nothing in it is worth waiting for any more."""

from __future__ import annotations

from controllers.kinds import NAMESPACE
from informers.client import Client
from informers.errors import Forbidden, NotFound
from informers.objects import ObjectKey


async def ends(client: Client, name: str) -> bool:
    """Ask the API server whether a namespace is being deleted.

    Asked when an object of it goes, which is rare; a watch on all namespaces would need rights on all of
    them. False where even this one may not be read: the deletion then takes its usual course.
    """
    try:
        found = await client.get(NAMESPACE, ObjectKey("", name))
    except (Forbidden, NotFound):
        return False
    return "deletionTimestamp" in found["metadata"]
