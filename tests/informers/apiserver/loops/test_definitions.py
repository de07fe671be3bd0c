"""Custom kinds: when they begin to be served, what their versions share, how they end."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest

from informers.apiserver.errors import StatusError
from informers.apiserver.kinds.table import DEFINITION
from informers.objects import Object
from tests.informers.apiserver.served import (
    CARTS,
    DEFINITIONS,
    Served,
    cart,
    cart_definition,
    rest,
    serving,
    told,
)

DEFINED = f"{DEFINITIONS}/carts.shop.example.com"


def refused(served: Served, *request: Any) -> StatusError:
    """The refusal of a request."""
    with pytest.raises(StatusError) as caught:
        served.ask(*request)
    return caught.value


def conditions(served: Served, path: str = DEFINED) -> dict[str, str]:
    """The conditions of a definition, by type."""
    found = served.obj("GET", path)["status"].get("conditions") or []
    return {one["type"]: one["status"] for one in found}


def test_a_definition_is_served_first_and_established_then() -> None:
    async def test(served: Served) -> None:
        watch = served.watch(DEFINITIONS, resourceVersion=served.revision, timeoutSeconds=60)
        served.ask("POST", DEFINITIONS, cart_definition())
        assert conditions(served) == {}
        assert refused(served, "POST", CARTS, cart("a")).code == 404
        seen = []
        async for event in watch:
            assert event.stored is not None
            shown = event.stored.obj["status"].get("conditions") or ()
            is_served = served.core.registry.find("shop.example.com", "v1", "carts") is not None
            seen.append(({one["type"]: (one["status"], one["reason"]) for one in shown}, is_served))
            if seen[-1][0].get("Established", ("",))[0] == "True":
                break
        accepted = {"NamesAccepted": ("True", "NoConflicts")}
        assert seen == [
            ({}, False),
            ({**accepted, "Established": ("False", "Installing")}, True),
            ({**accepted, "Established": ("True", "InitialNamesAccepted")}, True),
        ]
        assert served.ask("POST", CARTS, cart("a")).code == 201

    serving(test)


def test_names_that_are_taken_are_not_accepted() -> None:
    async def test(served: Served) -> None:
        other = cart_definition(names={"plural": "wagons", "kind": "Cart", "shortNames": ["w"]})
        other["metadata"]["name"] = "wagons.shop.example.com"
        served.ask("POST", DEFINITIONS, other)
        await asyncio.sleep(5)
        path = f"{DEFINITIONS}/wagons.shop.example.com"
        assert conditions(served, path) == {"NamesAccepted": "False", "Established": "False"}
        status = served.obj("GET", path)["status"]
        assert {one["reason"] for one in status["conditions"]} == {"ListKindConflict", "NotAccepted"}
        assert status["acceptedNames"] == {"kind": "", "plural": "wagons", "shortNames": ["w"]}
        assert served.core.registry.find("shop.example.com", "v1", "wagons") is None
        served.ask("DELETE", DEFINED)
        await asyncio.sleep(5)
        assert conditions(served, path) == {"NamesAccepted": "True", "Established": "True"}
        assert served.core.registry.find("shop.example.com", "v1", "wagons") is not None

    serving(test, carts=True)


def two_versions() -> Object:
    """The custom kind with a second version that has a default of its own."""
    found = cart_definition()
    old, new = found["spec"]["versions"][0], copy.deepcopy(found["spec"]["versions"][0])
    new |= {"name": "v2", "storage": True}
    new["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["colour"] = {
        "type": "string",
        "default": "red",
    }
    old["storage"] = False
    found["spec"]["versions"] = [old, new]
    return found


def test_all_versions_show_the_same_objects() -> None:
    async def test(served: Served) -> None:
        served.ask("POST", DEFINITIONS, two_versions())
        await asyncio.sleep(5)
        newer = CARTS.replace("/v1/", "/v2/")
        watch = served.watch(newer)
        made = served.obj("POST", CARTS, cart("a", spec={"items": 1}))
        assert made["apiVersion"] == "shop.example.com/v1"
        seen = served.obj("GET", f"{newer}/a")
        assert seen["apiVersion"] == "shop.example.com/v2"
        assert seen["spec"] == {"items": 1, "colour": "red"}, "the stored version's default"
        assert seen["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
        assert served.page(newer).items[0].obj["apiVersion"] == "shop.example.com/v2"
        assert await told(watch, 1) == [("ADDED", "a")]
        served.ask("PATCH", f"{newer}/a", {"spec": {"items": 2}})
        assert served.obj("GET", f"{CARTS}/a")["spec"]["items"] == 2
        assert len(list(served.core.store.shelf(("shop.example.com", "carts")).items())) == 1

    serving(test)


def test_a_changed_definition_is_served_as_changed() -> None:
    async def test(served: Served) -> None:
        served.ask("POST", CARTS, cart("a", spec={"items": 1}))
        changed = cart_definition()["spec"]["versions"]
        properties = changed[0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        properties["note"] = {"type": "string"}
        properties["items"]["minimum"] = 5
        served.ask("PATCH", DEFINED, {"spec": {"versions": changed}})
        await asyncio.sleep(5)
        # What was there before and does not change is let through: the note is new, the items are not.
        noted = served.obj("PATCH", f"{CARTS}/a", {"spec": {"note": "hi"}})
        assert noted["spec"] == {"items": 1, "note": "hi"}
        assert refused(served, "PATCH", f"{CARTS}/a", {"spec": {"items": 2}}).code == 422

    serving(test, carts=True)


def test_a_new_default_shows_on_what_is_there_without_any_write() -> None:
    async def test(served: Served) -> None:
        made = served.obj("POST", CARTS, cart("a", spec={"items": 1}))
        watch = served.watch(CARTS, resourceVersion=served.revision, timeoutSeconds=60)
        changed = cart_definition()["spec"]["versions"]
        properties = changed[0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        properties["colour"] = {"type": "string", "default": "red"}
        served.ask("PATCH", DEFINED, {"spec": {"versions": changed}})
        await asyncio.sleep(5)
        seen = served.obj("GET", f"{CARTS}/a")
        assert seen["spec"] == {"items": 1, "colour": "red"}
        assert seen["metadata"] == made["metadata"]
        assert served.page(CARTS).items[0].obj == seen
        assert await rest(watch) == []

    serving(test, carts=True)


def test_a_stored_version_cannot_be_taken_away() -> None:
    async def test(served: Served) -> None:
        renamed = cart_definition()["spec"]["versions"]
        renamed[0]["name"] = "v9"
        error = refused(served, "PATCH", DEFINED, {"spec": {"versions": renamed}})
        assert error.code == 422
        assert "must remain in spec.versions" in error.message

    serving(test, carts=True)


def test_conversion_by_webhook_is_refused_and_not_ignored() -> None:
    async def test(served: Served) -> None:
        webhook = cart_definition(conversion={"strategy": "Webhook", "webhook": {}})
        assert refused(served, "POST", DEFINITIONS, webhook).code in (422, 501)

    serving(test)


def test_a_definition_goes_after_its_objects() -> None:
    async def test(served: Served) -> None:
        served.ask("POST", CARTS, cart("free"))
        served.ask("POST", CARTS, cart("held", metadata={"finalizers": ["x.io/hold"]}))
        served.ask("DELETE", DEFINED)
        assert served.names(CARTS) == ["free", "held"]
        await asyncio.sleep(5)
        assert served.names(CARTS) == ["held"]
        assert refused(served, "POST", CARTS, cart("late")).code == 403
        assert conditions(served)["Terminating"] == "True"
        served.ask("PATCH", f"{CARTS}/held", {"metadata": {"finalizers": None}})
        await asyncio.sleep(5)
        assert refused(served, "GET", DEFINED).code == 404
        assert refused(served, "GET", CARTS).code == 404

    serving(test, carts=True)


def test_a_definition_can_come_back() -> None:
    async def test(served: Served) -> None:
        served.ask("POST", CARTS, cart("a"))
        served.ask("DELETE", DEFINED)
        await asyncio.sleep(5)
        served.ask("POST", DEFINITIONS, cart_definition())
        await asyncio.sleep(5)
        assert served.names(CARTS) == []
        assert served.ask("POST", CARTS, cart("a")).code == 201

    serving(test, carts=True)


def test_serving_a_definition_changes_what_discovery_is_built_from() -> None:
    async def test(served: Served) -> None:
        before = served.core.registry.revision
        served.ask("POST", DEFINITIONS, cart_definition())
        await asyncio.sleep(5)
        established = served.core.registry.revision
        assert established > before
        definition = served.core.registry.of_kind("shop.example.com/v1", "Cart")
        assert definition is not None
        assert (definition.singular, definition.has_status, definition.custom) == ("cart", True, True)
        served.ask("PATCH", DEFINED, {"metadata": {"labels": {"a": "b"}}})
        await asyncio.sleep(5)
        assert served.core.registry.revision == established, "a label is nothing to discover"
        assert DEFINITION.plural in {one.resource.plural for one in served.core.registry.types()}

    serving(test)
