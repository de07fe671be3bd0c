"""Finalizers and owner references, against a server that merges patches and minds versions."""

from __future__ import annotations

import copy
from typing import Any, cast

import pytest

from informers.client import Client
from informers.controller.finalizer import add_finalizer, remove_finalizer
from informers.controller.ownership import is_owned_by, owner_reference
from informers.errors import Conflict, NotFound
from informers.objects import Object, ObjectKey, Resource
from tests.informers.controller.objects import WIDGET, widget

MINE, OTHER = "example.com/mine", "example.com/other"


class Server:
    """One object, merge patches with preconditions, and how many were sent."""

    def __init__(self, obj: Object | None) -> None:
        self.obj = obj
        self.patches: list[Any] = []

    @property
    def client(self) -> Client:
        return cast(Client, self)

    async def patch(
        self, resource: Resource, key: ObjectKey, patch: Any, *, field_manager: str = ""
    ) -> Object:
        self.patches.append(patch)
        if self.obj is None:
            raise NotFound(404)
        meta = self.obj["metadata"]
        for field in ("resourceVersion", "uid"):
            if patch["metadata"][field] != meta[field]:
                raise Conflict(409)
        meta["resourceVersion"] = str(int(meta["resourceVersion"]) + 1)
        meta["finalizers"] = patch["metadata"]["finalizers"] or []
        return copy.deepcopy(self.obj)

    def read(self) -> Object:
        assert self.obj is not None
        return copy.deepcopy(self.obj)


async def test_adding_and_removing_leave_the_finalizers_of_others() -> None:
    server = Server(widget(finalizers=[OTHER]))
    added = await add_finalizer(server.client, WIDGET, server.read(), MINE)
    assert added is not None
    assert added["metadata"]["finalizers"] == [OTHER, MINE]
    removed = await remove_finalizer(server.client, WIDGET, added, MINE)
    assert removed is not None
    assert removed["metadata"]["finalizers"] == [OTHER]


async def test_nothing_to_do_sends_nothing() -> None:
    server = Server(widget(finalizers=[MINE]))
    assert await add_finalizer(server.client, WIDGET, server.read(), MINE) is None
    assert await remove_finalizer(server.client, WIDGET, server.read(), OTHER) is None
    assert not server.patches


async def test_a_finalizer_that_came_meanwhile_is_a_conflict_and_not_lost() -> None:
    server = Server(widget(finalizers=[MINE]))
    stale = server.read()
    await add_finalizer(server.client, WIDGET, server.read(), OTHER)
    with pytest.raises(Conflict):
        await remove_finalizer(server.client, WIDGET, stale, MINE)
    assert server.read()["metadata"]["finalizers"] == [MINE, OTHER]


async def test_what_is_gone_needs_no_removal_but_cannot_be_held() -> None:
    server = Server(None)
    assert await remove_finalizer(server.client, WIDGET, widget(finalizers=[MINE]), MINE) is None
    with pytest.raises(NotFound):
        await add_finalizer(server.client, WIDGET, widget(), MINE)


async def test_a_namesake_created_since_is_left_alone() -> None:
    server = Server(widget(uid="another", finalizers=[MINE]))
    with pytest.raises(Conflict):
        await remove_finalizer(server.client, WIDGET, widget(finalizers=[MINE]), MINE)


async def test_the_object_given_is_not_changed() -> None:
    server = Server(widget())
    given = server.read()
    await add_finalizer(server.client, WIDGET, given, MINE)
    assert given == widget()


def test_owner_references_name_the_controller() -> None:
    owner = widget("owner")
    del owner["kind"]
    child = widget("child", ownerReferences=[owner_reference(owner, WIDGET)])
    assert child["metadata"]["ownerReferences"] == [
        {
            "apiVersion": "example.com/v1",
            "kind": "Widget",
            "name": "owner",
            "uid": "uid-owner",
            "controller": True,
            "blockOwnerDeletion": True,
        }
    ]
    assert is_owned_by(child, "uid-owner")
    assert not is_owned_by(child, "uid-else")
    assert not is_owned_by(widget(), "uid-owner")
    child["metadata"]["ownerReferences"][0]["controller"] = False
    assert not is_owned_by(child, "uid-owner")
