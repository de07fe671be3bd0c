"""Dispatch: carries out one parsed request.

:func:`handle` never waits; :func:`serve` does the same for callers that let fault rules wait and cut.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TypeAlias

from informers.apiserver.core import ApiServer
from informers.apiserver.errors import StatusError
from informers.apiserver.errors.refusals import not_found, not_implemented
from informers.apiserver.faults import ConnectionCut
from informers.apiserver.kinds.table import BINDING
from informers.apiserver.reading.answers import get_list, get_one, watch
from informers.apiserver.reading.selection import shown
from informers.apiserver.reading.watching import WatchOutcome
from informers.apiserver.requests.calls import Call, ListOutcome, ObjectOutcome
from informers.apiserver.requests.reviews import REVIEW, review
from informers.apiserver.requests.routes import ELSEWHERE
from informers.apiserver.store import Store
from informers.apiserver.writing import creating, deleting, patching, pods, scaling, updating
from informers.apiserver.writing.backend import Backend
from informers.objects import ObjectKey

Outcome: TypeAlias = ObjectOutcome | ListOutcome | WatchOutcome


def handle(core: ApiServer, call: Call) -> Outcome:
    """Do what a request asks.

    :raises StatusError: every refusal.
    """
    info = call.info
    if info.type is REVIEW:
        return review(call, core.faults.forbids)
    if info.subresource in ELSEWHERE:
        raise not_implemented(f"this server does not support the subresource {info.subresource}")
    if info.verb == "watch":
        return watch(core.store, call, core.flow, core.rng)
    special = pods.bind_any if info.type.resource == BINDING else _SUBRESOURCES.get(info.subresource)
    if special is None and info.verb in _READS:
        return _READS[info.verb](core.store, call)
    before = core.store.revision
    outcome = (special or _WRITES[info.verb])(core.backend, call)
    if core.store.revision != before:
        core.journal.record(call, core.store.revision, core.clock.time())
    return outcome


_READS: Mapping[str, Callable[[Store, Call], Outcome]] = {"get": get_one, "list": get_list}
_WRITES: Mapping[str, Callable[[Backend, Call], Outcome]] = {
    "create": creating.create,
    "delete": deleting.delete,
    "deletecollection": deleting.delete_many,
    "patch": patching.patch,
    "update": updating.update,
}
_SUBRESOURCES: Mapping[str, Callable[[Backend, Call], Outcome]] = {
    "binding": pods.bind,
    "eviction": pods.evict,
    "scale": scaling.scale,
}


_REASONS = {
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


async def serve(core: ApiServer, call: Call) -> Outcome:
    """Handle a request as the rules in force allow.

    :raises StatusError: every refusal, real or made up.
    :raises ConnectionCut: the client is to get no answer.
    """
    rule = core.faults.strike(call)
    if rule is None:
        return handle(core, call)
    if wait := core.faults.wait(rule):
        await asyncio.sleep(wait)
    if rule.cut == "before":
        raise ConnectionCut
    if rule.status:
        details = {"retryAfterSeconds": rule.retry_after} if rule.retry_after else None
        reason = rule.reason or _REASONS.get(rule.status, "")
        raise StatusError(rule.status, reason, f"made to fail with {rule.status}", details)
    if rule.duplicate:
        with suppress(StatusError):
            # The server keeps parts of a body; two objects must not share them.
            handle(core, replace(call, body=copy.deepcopy(call.body)))
    outcome = _stale(core, call, rule.stale) if rule.stale else handle(core, call)
    if rule.cut == "after":
        raise ConnectionCut
    return outcome


def _stale(core: ApiServer, call: Call, behind: int) -> Outcome:
    """The answer of some revisions ago, or of the oldest one that is known."""
    info = call.info
    shelf = core.store.shelf(info.type.storage)
    revision = max(core.store.revision - behind, shelf.oldest)
    state = shelf.snapshot(revision)
    if info.verb == "list" and "continue" not in info.query and state is not None:
        query = {**info.query, "resourceVersion": str(revision), "resourceVersionMatch": "Exact"}
        return handle(core, replace(call, info=replace(info, query=query)))
    if info.verb == "get" and state is not None:
        key = ObjectKey(info.namespace, info.name)
        found = next((one for one in state if one.key == key), None)
        if found is None:
            raise not_found(info.type.resource, info.name)
        answer = shown(info.type, found)
        return ObjectOutcome(200, answer.obj, answer)
    return handle(core, call)
