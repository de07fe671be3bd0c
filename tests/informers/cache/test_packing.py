"""Packing: whatever form a body is in, it is the same object, and memory is given back."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from informers.cache import packing
from informers.cache.budget import Budget
from informers.cache.codec import ZstdCodec, train
from informers.cache.packing import Packer, PackingOptions, total
from informers.cache.store import HEADER_BYTES, Store
from informers.objects import ObjectKey
from informers.testing.clock import run_virtual
from informers.views.view import View, view_of_bytes
from tests.informers.watch.running import informer_of, running, until
from tests.informers.watch.server import Server

EAGER = PackingOptions(min_objects=16, min_bytes=0, samples=64, slice_bytes=1, backlog_bytes=1, judged=100)


def document(number: int, version: int = 1, **spec: Any) -> dict[str, Any]:
    """Objects of one kind: alike, but no two the same."""
    meta = {"name": f"object-{number:05d}", "namespace": f"team-{number % 3}", "uid": f"uid-{number}"}
    meta["resourceVersion"] = str(version)
    filler = {
        "source": {"type": "kafka", "brokers": ["broker-0.kafka:9092", "broker-1.kafka:9092"]},
        "steps": [{"name": "filter", "expression": f"field > {number}"}, {"name": "enrich"}],
        "random": f"{number * 2_654_435_761 % 2**64:016x}",
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {**filler, **spec}}


def view_of(obj: dict[str, Any]) -> View:
    view = view_of_bytes(json.dumps(obj, separators=(",", ":")).encode())
    assert view is not None
    return view


def filled(documents: Iterable[dict[str, Any]]) -> Store:
    store = Store()
    for one in documents:
        store.put(view_of(one))
    return store


def packer_of(*stores: Store, limit: int = 0, options: PackingOptions = EAGER) -> Packer:
    budget = Budget(limit)
    budget.add(lambda: total(stores).total)
    return Packer(stores, budget, "pods", random.Random(1), options)


@pytest.fixture(scope="module")
def codec() -> ZstdCodec:
    made = train([json.dumps(document(number)).encode() for number in range(200)])
    assert made is not None
    return made


class TestCodec:
    def test_objects_of_a_kind_become_small(self, codec: ZstdCodec) -> None:
        body = json.dumps(document(10_000)).encode()
        packed = codec.pack(body)
        assert len(packed) < len(body) / 3
        assert codec.unpack(packed) == body
        assert codec.ratio < 1 / 3

    @given(st.binary())
    def test_anything_comes_back(self, codec: ZstdCodec, content: bytes) -> None:
        packed = codec.pack(b"{" + content)
        assert packed == b"{" + content or codec.unpack(packed) == b"{" + content
        assert len(packed) <= len(content) + 1

    def test_threads_may_read_at_once(self, codec: ZstdCodec) -> None:
        bodies = [json.dumps(document(number, filler="x" * number)).encode() for number in range(200)]
        packed = [codec.pack(body) for body in bodies]
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda _: [codec.unpack(one) for one in packed], range(40)))
        assert found == [bodies] * 40

    def test_what_has_nothing_in_common_has_no_dictionary(self) -> None:
        assert train([b"{}"] * 3) is None


@settings(max_examples=40)
@given(st.data())
def test_a_view_is_the_same_object_whatever_becomes_of_its_store(data: st.DataObject) -> None:
    """Changes, deletions, relists and sweeps in any order, with sweeps under way all the time."""

    async def scenario() -> None:
        store = filled(document(number) for number in range(40))
        packer = packer_of(store)
        model = {number: document(number) for number in range(40)}
        seen = [(view, view.object()) for view in store.all()]
        numbers = st.integers(0, 45)
        for version in range(2, data.draw(st.integers(2, 12))):
            sweep = asyncio.create_task(packer.sweep(everything=data.draw(st.booleans())))
            for _ in range(data.draw(st.integers(0, 4))):
                # Somewhere between two slices.
                await asyncio.sleep(0)
            step, number = data.draw(st.sampled_from(["put", "remove", "relist", "read"])), data.draw(numbers)
            if step == "put":
                model[number] = document(number, version, extra="x" * data.draw(st.integers(0, 500)))
                store.put(view_of(model[number]))
            elif step == "remove" and number in model:
                store.remove(view_of(model.pop(number)))
            elif step == "relist":
                store.begin()
                intake = packer.intake()
                for one in model.values():
                    view = view_of(one)
                    if store.collect(view):
                        intake.came(view)
                    await intake.relieve()
                store.commit()
                intake.complete()
            elif step == "read" and number in model:
                store.get(ObjectKey.of(model[number])).object()  # type: ignore[union-attr]
            await sweep
            seen += [(view, view.object()) for view in store.all()]
            found = {view.key: view for view in store.all()}
            assert {key: view.object() for key, view in found.items()} == {
                ObjectKey.of(one): one for one in model.values()
            }
            assert store.size.objects == len(model)
            assert store.size.raw == sum(len(v.body) for v in found.values() if v.codec is None)
            assert store.size.compressed == sum(len(v.body) for v in found.values() if v.codec is not None)
        # Those who hold an old version still have that version.
        assert all(view.object() == obj for view, obj in seen)

    run_virtual(scenario())


class TestWhatIsPacked:
    def test_idle_bodies_are_and_those_read_or_changed_lately_are_not(self) -> None:
        async def scenario() -> None:
            store = filled(document(number) for number in range(50))
            read, changed = ObjectKey("team-1", "object-00001"), ObjectKey("team-2", "object-00002")
            packer = packer_of(store)
            await packer.sweep()
            assert not any(view.packed for view in store.all()), "all are new"
            store.get(read).object()  # type: ignore[union-attr]
            store.put(view_of(document(2, version=2)))
            await packer.sweep()
            assert {view.key for view in store.all() if not view.packed} == {read, changed}
            await packer.sweep()
            assert all(view.packed for view in store.all())

        run_virtual(scenario())

    def test_reading_everything_does_not_blow_it_up_again(self) -> None:
        async def scenario() -> None:
            store = filled(document(number) for number in range(50))
            await packer_of(store).sweep(everything=True)
            before = store.size
            assert [view.object()["spec"]["source"]["type"] for view in store.all()] == ["kafka"] * 50
            assert store.size == before and before.raw == 0

        run_virtual(scenario())

    def test_small_kinds_stay_raw(self) -> None:
        async def scenario() -> None:
            store = filled(document(number) for number in range(15))
            await packer_of(store).sweep(everything=True)
            assert store.size.compressed == 0
            store = filled(document(number) for number in range(100))
            await packer_of(store, options=PackingOptions(min_objects=10)).sweep(everything=True)
            assert store.size.compressed == 0, "too few bytes"

        run_virtual(scenario())

    def test_it_can_be_switched_off(self) -> None:
        async def scenario() -> None:
            server = Server()
            for number in range(30):
                server.put(f"object-{number}", spec=document(number)["spec"])
            informer = informer_of(server, packing=PackingOptions(enabled=False, min_objects=1, min_bytes=0))
            async with running(informer):
                await asyncio.sleep(100)
                assert informer.cache_size().compressed == 0

        run_virtual(scenario())

    def test_what_cannot_be_packed_is_settled_at_least(self) -> None:
        async def scenario() -> None:
            noise = random.Random(1)
            labels = {"labels": {"team": "a"}}
            documents = [document(number, noise=noise.randbytes(3_000).hex()) for number in range(300)]
            store = filled({**one, "metadata": {**one["metadata"], **labels}} for one in documents)
            await packer_of(store, options=PackingOptions(samples=5)).sweep(everything=True)
            assert store.size.compressed == 0, "nothing to learn from so few"
            first, *others = store.all()
            assert first.labels == labels["labels"]
            assert all(other.metadata.labels is first.metadata.labels for other in others)

        run_virtual(scenario())

    def test_a_body_that_does_not_shrink_is_tried_once(self, codec: ZstdCodec) -> None:
        view = view_of({"metadata": {"name": "x"}})
        noise = random.Random(1).randbytes(300).hex()
        assert codec.pack(noise[:3].encode()) == noise[:3].encode()
        view.replace_body(codec, codec.pack(b'{"a":1}'))
        assert (view.packed, view.json, view.codec) == (False, b'{"a":1}', codec)

    def test_a_dictionary_that_has_stopped_being_good_is_replaced(self) -> None:
        async def scenario() -> None:
            store = filled(document(number) for number in range(100))
            packer = packer_of(store)
            await packer.sweep(everything=True)
            old = {view.codec for view in store.all()}
            assert len(old) == 1
            words = [f"{random.Random(seed).getrandbits(256):x}" for seed in range(40)]
            for version in (2, 3):
                for number in range(100):
                    drawn = random.Random(number * version).sample(words, 12)
                    store.put(view_of(document(number, version, text=drawn)))
                await packer.sweep(everything=True)
            for number in range(100):
                store.put(view_of(document(number, 4, text=words[:12])))
            await packer.sweep(everything=True)
            new = {view.codec for view in store.all()}
            assert len(new) == 1 and new != old

        run_virtual(scenario())


class TestAFirstState:
    @pytest.mark.parametrize("streaming", [True, False])
    def test_is_packed_while_it_comes_in(self, streaming: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        most = 0

        async def scenario() -> None:
            nonlocal most
            raw = _watched_raw(monkeypatch)
            server = Server()
            server.streaming_lists = streaming
            for number in range(2_000):
                server.put(f"object-{number}", spec=document(number, extra="x" * 2_000)["spec"])
            informer = informer_of(
                server,
                packing=PackingOptions(samples=100, slice_bytes=4096, incoming_bytes=1, backlog_bytes=1),
            )
            async with running(informer):
                assert len(informer) == 2_000
                most = max(raw)
                await until(lambda: informer.cache_size().raw == 0)
                view = informer.get(ObjectKey("a", "object-7"))
                assert view is not None and view.object()["spec"] == document(7, extra="x" * 2_000)["spec"]

        run_virtual(scenario())
        # As much as the rest takes, a page of the list, and what the dictionary was learned from.
        assert 0 < most <= 1_000


def test_a_first_state_of_a_few_large_objects_is_packed_while_it_comes_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    most = 0

    async def scenario() -> None:
        nonlocal most
        raw = _watched_raw(monkeypatch)
        server = Server()
        for number in range(60):
            server.put(f"object-{number}", spec=document(number, extra="x" * 50_000)["spec"])
        options = PackingOptions(sample_bytes=200_000, incoming_bytes=1, backlog_bytes=1)
        async with running(informer_of(server, packing=options)):
            most = max(raw)

    run_virtual(scenario())
    # Of these fifteen there is enough to learn from; by number it takes five hundred.
    assert 0 < most <= 20


def test_an_informer_that_was_ended_while_it_learned_packs_when_it_runs_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> None:
        server = Server()
        for number in range(300):
            server.put(f"object-{number}", spec=document(number)["spec"])
        informer = informer_of(server, packing=EAGER)
        learning = asyncio.Event()

        async def never(*_: Any) -> None:
            learning.set()
            await asyncio.Event().wait()

        with monkeypatch.context() as patch:
            patch.setattr("informers.cache.packing.asyncio.to_thread", never)
            async with running(informer):
                await learning.wait()
        async with running(informer):
            await until(lambda: informer.cache_size().raw == 0)

    run_virtual(scenario())


def _watched_raw(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many views waited to be packed, every time."""
    seen: list[int] = []
    relieve = packing.Intake.relieve

    async def spied(self: packing.Intake) -> None:
        seen.append(len(self._waiting))
        await relieve(self)

    monkeypatch.setattr(packing.Intake, "relieve", spied)
    return seen


class TestBudget:
    def test_beyond_it_everything_is_packed_and_then_it_is_said(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def scenario() -> None:
            server = Server()
            for number in range(12):
                server.put(f"object-{number}", spec=document(number)["spec"])
            budget = Budget(12 * HEADER_BYTES + 2_500)
            informer = informer_of(server, budget=budget, packing=PackingOptions(min_objects=10_000))
            async with running(informer):
                assert budget.exceeded
                await until(lambda: informer.cache_size().raw == 0)
                assert not budget.exceeded, "packing was enough, although the kind is small"
                assert informer.health() is None
                for number in range(12, 60):
                    server.put(f"object-{number}", spec=document(number)["spec"])
                await until(informer.health)
                assert informer.health() == f"pods: {budget}"
                assert len(informer) == 60, "nothing is refused"
                for number in range(60):
                    server.remove(f"object-{number}")
                await until(lambda: informer.health() is None)

        run_virtual(scenario())
        assert "all bodies are compressed already" in caplog.text

    def test_large_objects_are_packed_as_well(self) -> None:
        """A few of them are more than a training takes."""

        async def scenario() -> None:
            words = [f"{number * 2_654_435_761 % 2**64:x}" for number in range(500)]
            server = Server()
            for number in range(20):
                text = " ".join(random.Random(number).choices(words, k=20_000))
                server.put(f"object-{number}", spec=document(number, text=text)["spec"])
            informer = informer_of(server, budget=Budget(1))
            async with running(informer):
                assert informer.cache_size().raw > 20 * 150_000
                await until(lambda: informer.cache_size().raw == 0)

        run_virtual(scenario())

    def test_where_nothing_is_packed_it_is_said_as_well(self) -> None:
        async def scenario() -> None:
            server = Server()
            for number in range(12):
                server.put(f"object-{number}", spec=document(number)["spec"])
            budget = Budget(1)
            informer = informer_of(server, budget=budget, packing=PackingOptions(enabled=False))
            async with running(informer):
                await until(informer.health)
                assert informer.health() == f"pods: {budget}"
                budget.limit = 10**6
                await until(lambda: informer.health() is None)

        run_virtual(scenario())

    def test_without_a_limit_nothing_exceeds_it(self) -> None:
        budget = Budget()
        budget.add(lambda: 10**12)
        assert not budget.exceeded
