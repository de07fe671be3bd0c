"""The debug page: what is in the queues, why, and how fresh the caches are. Keys and causes, no contents."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from aiohttp import web

from informers.cache.informer import Informer
from informers.caches import Caches, Kept
from informers.controller import Controller
from informers.queue import Entry
from informers.server import Handler

PATH = "/debug/queues"

_SHOWN = 100
"""Keys of a queue that are shown unless ``?limit=`` says otherwise."""


def debug_routes(controllers: Iterable[Controller], caches: Caches) -> Mapping[str, Handler]:
    """``/debug/queues``: JSON. ``?controller=`` and ``?key=namespace/name`` select, ``?limit=`` bounds."""

    async def answer(request: web.Request) -> web.Response:
        query = request.query
        limit = query.get("limit", str(_SHOWN))
        if not (limit.isascii() and limit.isdigit()):
            return web.Response(status=400, text="limit must be a number of keys\n")
        page = {
            "controllers": {
                controller.name: describe(controller, query.get("key", ""), int(limit))
                for controller in controllers
                if query.get("controller", controller.name) == controller.name
            },
            "informers": [_informer(kept, informer) for kept, informer in caches.items()],
        }
        return web.Response(text=json.dumps(page, indent=1) + "\n", content_type="application/json")

    return {PATH: answer}


def describe(controller: Controller, key: str = "", limit: int = _SHOWN) -> dict[str, Any]:
    """A controller's workers and queue.

    :param key: show this one alone.
    """
    statistics = controller.queue.statistics()
    entries = [entry for entry in controller.queue.entries() if key in ("", str(entry.key))]
    ready = {priority.name.lower(): count for priority, count in statistics.ready.items()}
    return {
        "statistics": {**asdict(statistics), "ready": ready},
        "running": [
            {
                "key": str(one.key),
                "seconds": round(one.seconds, 3),
                "causes": one.causes,
                "reconcile": one.id,
            }
            for one in controller.running()
            if key in ("", str(one.key))
        ],
        "keys": [_entry(entry) for entry in entries[:limit]],
        "more": max(0, len(entries) - limit),
    }


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "key": str(entry.key),
        "place": entry.place,
        "priority": entry.priority.name.lower() if entry.priority is not None else None,
        "seconds": round(entry.seconds, 3),
        "causes": entry.causes,
        "failures": entry.failures,
    }


def _informer(kept: Kept, informer: Informer) -> dict[str, Any]:
    resource, _, selector = kept.labels
    return {
        "resource": resource,
        "namespaces": kept.namespaces,
        "selector": selector,
        "synced": informer.synced,
        "objects": len(informer),
        "lastContactSeconds": round(informer.last_contact_age(), 3),
        "problem": informer.health(),
    }
