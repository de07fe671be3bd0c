"""The semantics simpler servers get wrong, one test each; their exact answers are in the recorded ones."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from informers.apiserver.errors import StatusError
from informers.objects import Object
from tests.informers.apiserver.served import APPLY, CARTS, MAPS, PODS, Served, cart, rest, serving


def refused(served: Served, *request: Any, **query: Any) -> StatusError:
    """The refusal of a request."""
    with pytest.raises(StatusError) as caught:
        served.ask(*request, **query)
    return caught.value


def pod(name: str, **spec: Any) -> Object:
    """A pod with one container."""
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}], **spec}}


def test_a_write_that_changes_nothing_has_no_version_and_no_event() -> None:
    async def test(served: Served) -> None:
        made = served.map("a", {"x": "1"})
        revision = served.revision
        watch = served.watch(MAPS, resourceVersion=revision, timeoutSeconds=5)
        await asyncio.sleep(2)
        served.ask("PUT", f"{MAPS}/a", made)
        served.ask("PATCH", f"{MAPS}/a", {"data": {"x": "1"}})
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "1"}}
        served.ask("PATCH", f"{MAPS}/a", body, APPLY, fieldManager="m")
        shared = served.revision
        await asyncio.sleep(2)
        served.ask("PATCH", f"{MAPS}/a", body, APPLY, fieldManager="m")
        assert shared == revision + 1, "the first apply takes ownership, which is a change"
        assert served.revision == shared
        assert [one.kind for one in await rest(watch)] == ["MODIFIED"]

    serving(test)


def test_optimistic_concurrency_lets_one_of_two_writers_through() -> None:
    async def test(served: Served) -> None:
        seen = served.map("a")
        served.ask("PUT", f"{MAPS}/a", {**seen, "data": {"by": "first"}})
        error = refused(served, "PUT", f"{MAPS}/a", {**seen, "data": {"by": "second"}})
        assert (error.code, error.reason) == (409, "Conflict")
        version = seen["metadata"]["resourceVersion"]
        error = refused(served, "PATCH", f"{MAPS}/a", {"metadata": {"resourceVersion": version}})
        assert (error.code, error.reason) == (409, "Conflict")
        assert served.obj("GET", f"{MAPS}/a")["data"] == {"by": "first"}

    serving(test)


def test_generated_names_are_new_each_time() -> None:
    async def test(served: Served) -> None:
        for _ in range(50):
            served.ask("POST", MAPS, {"metadata": {"generateName": "job-"}})
        names = served.names(MAPS)
        assert len(set(names)) == 50
        assert all(name.startswith("job-") and len(name) == 9 for name in names)

    serving(test)


def test_a_generated_name_that_is_taken_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter(["job-a", "job-a", "job-b", "job-c"])
    monkeypatch.setattr("informers.apiserver.writing.creating.generated_name", lambda *_: next(drawn))

    async def test(served: Served) -> None:
        for _ in range(2):
            served.ask("POST", MAPS, {"metadata": {"generateName": "job-"}})
        assert served.names(MAPS) == ["job-a", "job-b"]
        bad = {"metadata": {"generateName": "job-", "labels": {"a": "not valid"}}}
        assert refused(served, "POST", MAPS, bad).code == 422
        assert list(drawn) == [], "whatever else is wrong with it is wrong with another name as well"

    serving(test)


def test_a_dry_run_neither_begins_nor_ends_a_deletion() -> None:
    async def test(served: Served) -> None:
        served.map("a", finalizers=["x.io/hold"])
        marked = served.obj("DELETE", f"{MAPS}/a", dryRun="All")
        assert "deletionTimestamp" in marked["metadata"]
        assert "deletionTimestamp" not in served.obj("GET", f"{MAPS}/a")["metadata"]
        served.ask("DELETE", f"{MAPS}/a")
        served.ask("PATCH", f"{MAPS}/a", {"metadata": {"finalizers": None}}, dryRun="All")
        assert served.obj("GET", f"{MAPS}/a")["metadata"]["finalizers"] == ["x.io/hold"]

    serving(test)


def test_the_generation_counts_changes_of_the_spec_and_the_beginning_of_deletion() -> None:
    async def test(served: Served) -> None:
        def generation() -> int:
            found: int = served.obj("GET", f"{CARTS}/a")["metadata"]["generation"]
            return found

        served.ask("POST", CARTS, cart("a", spec={"items": 1}, metadata={"finalizers": ["x.io/hold"]}))
        served.ask("PATCH", f"{CARTS}/a", {"metadata": {"labels": {"a": "b"}}})
        served.ask("PATCH", f"{CARTS}/a/status", {"status": {"total": 3}})
        assert generation() == 1
        served.ask("PATCH", f"{CARTS}/a", {"spec": {"items": 2}})
        assert generation() == 2
        served.ask("DELETE", f"{CARTS}/a")
        served.ask("DELETE", f"{CARTS}/a")
        assert generation() == 3
        assert "generation" not in served.map("m")["metadata"]

    serving(test, carts=True)


def test_status_and_spec_are_written_apart() -> None:
    async def test(served: Served) -> None:
        both = {"spec": {"items": 1}, "status": {"total": 1}}
        assert "status" not in served.obj("POST", CARTS, cart("a", **both))
        changed = {"spec": {"items": 2}, "status": {"total": 2}}
        assert "status" not in served.obj("PATCH", f"{CARTS}/a", changed)
        labelled = {**changed, "spec": {"items": 9}, "metadata": {"labels": {"a": "b"}}}
        answer = served.obj("PATCH", f"{CARTS}/a/status", labelled)
        assert (answer["spec"], answer["status"]) == ({"items": 2}, {"total": 2})
        assert "labels" not in answer["metadata"]
        managers = {
            one.get("subresource", ""): one["fieldsV1"] for one in answer["metadata"]["managedFields"]
        }
        assert managers["status"] == {"f:status": {".": {}, "f:total": {}}}

    serving(test, carts=True)


def test_a_finalizer_holds_an_object_until_it_is_removed() -> None:
    async def test(served: Served) -> None:
        served.map("a", finalizers=["x.io/hold"])
        watch = served.watch(MAPS, resourceVersion=served.revision, timeoutSeconds=1)
        answer = served.obj("DELETE", f"{MAPS}/a")
        assert answer["metadata"]["deletionTimestamp"]
        added = {"metadata": {"finalizers": ["x.io/hold", "x.io/other"]}}
        assert refused(served, "PATCH", f"{MAPS}/a", added).code == 422
        served.ask("PATCH", f"{MAPS}/a", {"metadata": {"finalizers": None}})
        assert refused(served, "GET", f"{MAPS}/a").code == 404
        marked, gone = await rest(watch)
        assert (marked.kind, gone.kind) == ("MODIFIED", "DELETED")
        assert gone.stored is not None
        assert gone.stored.obj["metadata"]["finalizers"] == ["x.io/hold"], "the state before it went"

    serving(test)


def test_nobody_can_call_a_deletion_off() -> None:
    async def test(served: Served) -> None:
        seen = served.map("a", finalizers=["x.io/hold"])
        marked = served.obj("DELETE", f"{MAPS}/a")["metadata"]
        metadata = {**seen["metadata"], "resourceVersion": marked["resourceVersion"]}
        answer = served.obj("PUT", f"{MAPS}/a", {**seen, "metadata": metadata, "data": {"x": "1"}})
        assert answer["data"] == {"x": "1"}
        assert answer["metadata"]["deletionTimestamp"] == marked["deletionTimestamp"]

    serving(test)


def test_deletions_can_insist_on_an_identity_and_a_version() -> None:
    async def test(served: Served) -> None:
        metadata = served.map("a")["metadata"]
        for wrong in ({"uid": "other"}, {"resourceVersion": "1"}):
            assert refused(served, "DELETE", f"{MAPS}/a", {"preconditions": wrong}).code == 409
        right = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
        status = served.obj("DELETE", f"{MAPS}/a", {"preconditions": right})
        assert (status["kind"], status["status"]) == ("Status", "Success")
        assert status["details"]["uid"] == metadata["uid"]

    serving(test)


def test_a_dry_run_checks_everything_and_stores_nothing() -> None:
    async def test(served: Served) -> None:
        served.map("a", {"x": "1"})
        revision = served.revision
        assert served.obj("POST", MAPS, {"metadata": {"name": "b"}}, dryRun="All")["metadata"]["uid"]
        served.ask("PATCH", f"{MAPS}/a", {"data": {"x": "2"}}, dryRun="All")
        served.ask("DELETE", f"{MAPS}/a", dryRun="All")
        assert refused(served, "POST", MAPS, {"metadata": {"name": "a"}}, dryRun="All").code == 409
        assert refused(served, "POST", MAPS, {"metadata": {"name": "A b"}}, dryRun="All").code == 422
        assert served.revision == revision

    serving(test)


def test_deleting_a_collection_honours_its_selectors() -> None:
    async def test(served: Served) -> None:
        for name, label in (("a", "x"), ("b", "y"), ("c", "x")):
            served.map(name, labels={"app": label})
        served.ask("DELETE", MAPS, labelSelector="app=x", fieldSelector="metadata.name!=c")
        assert served.names(MAPS) == ["b", "c"]

    serving(test)


def test_pods_go_gracefully_once_they_have_a_node() -> None:
    async def test(served: Served) -> None:
        served.ask("POST", PODS, pod("p", terminationGracePeriodSeconds=40))
        served.ask("POST", f"{PODS}/p/binding", {"target": {"kind": "Node", "name": "n"}})
        first = served.obj("DELETE", f"{PODS}/p")["metadata"]
        assert first["deletionGracePeriodSeconds"] == 40
        assert first["deletionTimestamp"] > served.core.now(), "it lies in the future"
        await asyncio.sleep(100)
        served.ask("DELETE", f"{PODS}/p")
        assert served.obj("GET", f"{PODS}/p")["metadata"] == first, "the node has the last word"
        late = {"propagationPolicy": "Foreground"}
        assert served.obj("DELETE", f"{PODS}/p", late)["metadata"] == first, "too late for dependents"
        served.ask("DELETE", f"{PODS}/p", {"gracePeriodSeconds": 0, "preconditions": {"uid": first["uid"]}})
        assert refused(served, "GET", f"{PODS}/p").code == 404
        again = served.obj("POST", PODS, pod("p"))
        assert again["metadata"]["uid"] != first["uid"]

    serving(test)


def test_an_eviction_asks_the_budget() -> None:
    async def test(served: Served) -> None:
        labelled = pod("p")
        labelled["metadata"]["labels"] = {"app": "x"}
        served.ask("POST", PODS, labelled)
        served.ask("POST", f"{PODS}/p/binding", {"target": {"kind": "Node", "name": "n"}})
        ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        served.ask("PATCH", f"{PODS}/p/status", {"status": ready})
        budgets = "/apis/policy/v1/namespaces/shop/poddisruptionbudgets"
        spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}}
        served.ask("POST", budgets, {"metadata": {"name": "b"}, "spec": spec})
        status = {"observedGeneration": 1, "disruptionsAllowed": 0, "currentHealthy": 1, "desiredHealthy": 1}
        status["expectedPods"] = 1
        served.ask("PATCH", f"{budgets}/b/status", {"status": status})
        eviction = {"metadata": {"name": "p"}}
        error = refused(served, "POST", f"{PODS}/p/eviction", eviction)
        assert (error.code, error.reason) == (429, "TooManyRequests")
        assert error.details["causes"][0]["reason"] == "DisruptionBudget"
        served.ask("PATCH", f"{budgets}/b/status", {"status": {"disruptionsAllowed": 1}})
        assert served.ask("POST", f"{PODS}/p/eviction", eviction).code == 201
        evicted = served.obj("GET", f"{PODS}/p")
        assert evicted["metadata"]["deletionTimestamp"]
        assert "DisruptionTarget" in [one["type"] for one in evicted["status"]["conditions"]]
        left = served.obj("GET", f"{budgets}/b")["status"]
        assert left["disruptionsAllowed"] == 0
        assert list(left["disruptedPods"]) == ["p"]

    serving(test)


def test_a_namespace_on_its_way_out_takes_nothing_new_and_takes_all_with_it() -> None:
    async def test(served: Served) -> None:
        served.map("held", finalizers=["x.io/hold"])
        served.map("free")
        served.ask("DELETE", "/api/v1/namespaces/shop")
        error = refused(served, "POST", MAPS, {"metadata": {"name": "late"}})
        assert error.code == 403
        assert error.details["causes"][0]["reason"] == "NamespaceTerminating"
        await asyncio.sleep(30)
        assert served.names(MAPS) == ["held"]
        assert served.obj("GET", "/api/v1/namespaces/shop")["status"]["phase"] == "Terminating"
        served.ask("PATCH", f"{MAPS}/held", {"metadata": {"finalizers": None}})
        await asyncio.sleep(60)
        assert refused(served, "GET", "/api/v1/namespaces/shop").code == 404

    serving(test)


def test_what_has_lost_its_owner_is_collected_but_not_at_once() -> None:
    async def test(served: Served) -> None:
        owner = served.map("owner")["metadata"]
        reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["uid"]}
        served.map("child", ownerReferences=[reference])
        served.map("stray", ownerReferences=[{**reference, "uid": "of an owner with the same name, before"}])
        await asyncio.sleep(5)
        assert served.names(MAPS) == ["child", "owner"]
        served.ask("DELETE", f"{MAPS}/owner")
        assert served.names(MAPS) == ["child"], "never instantly"
        await asyncio.sleep(5)
        assert served.names(MAPS) == []

    serving(test)


def test_unknown_fields_are_dropped_refused_or_told() -> None:
    async def test(served: Served) -> None:
        body = cart("a", spec={"items": 1, "colour": "red"})
        error = refused(served, "POST", CARTS, body, fieldValidation="Strict")
        assert (error.code, 'unknown field "spec.colour"' in error.message) == (400, True)
        outcome = served.ask("POST", CARTS, body)
        assert outcome.warnings == ('unknown field "spec.colour"',)
        assert outcome.obj["spec"] == {"items": 1}
        assert served.ask("POST", CARTS, cart("b", spec={"z": 1}), fieldValidation="Ignore").warnings == ()

    serving(test, carts=True)


def test_an_applier_that_stops_wanting_a_field_removes_it_unless_others_want_it() -> None:
    async def test(served: Served) -> None:
        def apply(manager: str, **data: str) -> Object:
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data}
            return served.obj("PATCH", f"{MAPS}/a", body, APPLY, fieldManager=manager)

        apply("one", mine="1", ours="1")
        apply("two", ours="1")
        assert apply("one")["data"] == {"ours": "1"}
        assert apply("two").get("data") in (None, {})

    serving(test)


def test_quantities_may_be_numbers() -> None:
    async def test(served: Served) -> None:
        sent = pod("p")
        sent["spec"]["containers"][0]["resources"] = {"requests": {"cpu": 2, "memory": "1024Mi"}}
        made = served.obj("POST", PODS, sent)
        requests = made["spec"]["containers"][0]["resources"]["requests"]
        assert requests == {"cpu": "2", "memory": "1Gi"}

    serving(test)


@pytest.mark.parametrize("patch", [{"data": "x"}, {"data": {"x": 1}}, {"kind": "Secret"}])
def test_a_patch_to_something_that_is_no_object_of_the_kind_is_invalid(patch: Object) -> None:
    async def test(served: Served) -> None:
        served.map("a")
        error = refused(served, "PATCH", f"{MAPS}/a", patch)
        assert (error.code, error.reason) == (422, "Invalid")
        assert [one["field"] for one in error.details["causes"]] == ["patch"]

    serving(test)
