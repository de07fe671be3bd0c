"""Lists: order, selectors, pages, versions."""

from __future__ import annotations

import pytest

from informers.apiserver.errors import StatusError
from tests.informers.apiserver.served import CARTS, MAPS, Served, cart, serving


def refused(served: Served, path: str, **query: object) -> StatusError:
    """The refusal of a list."""
    with pytest.raises(StatusError) as caught:
        served.page(path, **query)
    return caught.value


def test_objects_come_in_the_order_of_their_paths() -> None:
    async def test(served: Served) -> None:
        for namespace in ("b", "a", "a-b"):
            served.core.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
            for name in ("y", "x"):
                served.ask("POST", f"/api/v1/namespaces/{namespace}/configmaps", {"metadata": {"name": name}})
        keys = [str(one.key) for one in served.page("/api/v1/configmaps").items]
        # "-" comes before "/".
        assert keys == ["a-b/x", "a-b/y", "a/x", "a/y", "b/x", "b/y"]
        assert served.names("/api/v1/namespaces/a/configmaps") == ["x", "y"]

    serving(test)


def test_items_of_built_in_kinds_do_not_repeat_their_kind() -> None:
    async def test(served: Served) -> None:
        served.map("a")
        served.ask("POST", CARTS, cart("a"))
        assert "kind" not in served.page(MAPS).items[0].obj
        assert served.page(CARTS).items[0].obj["kind"] == "Cart"
        assert b'"kind"' not in served.page(MAPS).items[0].encoded
        assert served.obj("GET", f"{MAPS}/a")["kind"] == "ConfigMap"

    serving(test, carts=True)


def test_pages_add_up_to_the_list_of_the_first_one() -> None:
    async def test(served: Served) -> None:
        for number in range(7):
            served.map(f"m{number}")
        page = served.page(MAPS, limit=3)
        assert page.metadata["remainingItemCount"] == 4
        version, names = page.metadata["resourceVersion"], [one.key.name for one in page.items]
        served.map("m3a")
        served.ask("DELETE", f"{MAPS}/m5")
        while "continue" in page.metadata:
            page = served.page(MAPS, limit=3, continue_=page.metadata["continue"])
            assert page.metadata["resourceVersion"] == version
            names += [one.key.name for one in page.items]
        assert names == [f"m{number}" for number in range(7)]

    serving(test)


def test_pages_of_a_selection_are_full_and_do_not_count_the_rest() -> None:
    async def test(served: Served) -> None:
        for number in range(9):
            served.map(f"m{number}", labels={"third": str(number % 3)})
        page = served.page(MAPS, limit=2, labelSelector="third=1")
        assert [one.key.name for one in page.items] == ["m1", "m4"]
        assert "remainingItemCount" not in page.metadata
        query = {"limit": 2, "labelSelector": "third=1", "continue_": page.metadata["continue"]}
        assert served.names(MAPS, **query) == ["m7"]

    serving(test)


def test_an_expired_page_says_how_to_go_on_without_consistency() -> None:
    async def test(served: Served) -> None:
        for number in range(4):
            served.map(f"m{number}")
        token = served.page(MAPS, limit=2).metadata["continue"]
        served.map("m2a")
        served.core.store.compact()
        error = refused(served, MAPS, limit=2, continue_=token)
        assert (error.code, error.reason) == (410, "Expired")
        following = error.status()["metadata"]["continue"]
        assert served.names(MAPS, continue_=following) == ["m2", "m2a", "m3"]

    serving(test)


def test_a_page_expires_even_when_nothing_happened() -> None:
    async def test(served: Served) -> None:
        for number in range(4):
            served.map(f"m{number}")
        token = served.page(MAPS, limit=2).metadata["continue"]
        served.core.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "elsewhere"}})
        served.core.store.compact()
        assert refused(served, MAPS, limit=2, continue_=token).code == 410

    serving(test)


def test_a_list_of_an_exact_version_is_rebuilt_from_the_past() -> None:
    async def test(served: Served) -> None:
        served.map("a", {"n": "1"})
        version = served.revision
        served.map("b")
        served.ask("PATCH", f"{MAPS}/a", {"data": {"n": "2"}})
        served.ask("DELETE", f"{MAPS}/b")
        past = served.page(MAPS, resourceVersion=version, resourceVersionMatch="Exact")
        assert past.metadata["resourceVersion"] == str(version)
        assert [one.obj["data"] for one in past.items] == [{"n": "1"}]
        newer = served.page(MAPS, resourceVersion=version, resourceVersionMatch="NotOlderThan")
        assert [one.obj["data"] for one in newer.items] == [{"n": "2"}]
        # A page of a named version without a word about it is of that very version.
        assert served.page(MAPS, resourceVersion=version, limit=5).items[0].obj["data"] == {"n": "1"}
        served.core.store.compact()
        assert refused(served, MAPS, resourceVersion=version, resourceVersionMatch="Exact").code == 410

    serving(test)


def test_the_future_is_refused_with_a_time_to_wait() -> None:
    async def test(served: Served) -> None:
        error = refused(served, MAPS, resourceVersion=served.revision + 5)
        assert (error.code, error.reason, error.retry_after) == (504, "Timeout", 1)
        assert error.details["causes"][0]["reason"] == "ResourceVersionTooLarge"

    serving(test)


@pytest.mark.parametrize(
    "query",
    [
        {"labelSelector": "a in ("},
        {"fieldSelector": "spec.nothing=1"},
        {"limit": "many"},
        {"limit": "9" * 5000},
        {"limit": ""},
        {"continue_": "%%%"},
        {"continue_": "e30"},
        {"resourceVersion": "abc"},
    ],
)
def test_what_makes_no_sense_is_refused(query: dict[str, str]) -> None:
    async def test(served: Served) -> None:
        assert refused(served, MAPS, **query).code == 400

    serving(test)


def test_many_lists_can_be_under_way_at_once() -> None:
    async def test(served: Served) -> None:
        tokens = []
        for number in range(50):
            served.map(f"m{number:02}")
            if number:
                tokens.append((number, served.page(MAPS, limit=1).metadata["continue"]))
        for number, token in [*tokens, *reversed(tokens)]:
            assert len(served.page(MAPS, limit=100, continue_=token).items) == number

    serving(test)
