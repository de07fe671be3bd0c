"""Events: never in the way, few, and complete."""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from informers.client import Client
from informers.clock import SystemClock
from informers.errors import Fenced, Forbidden, NotFound, TooManyRequests, TransportError
from informers.events import BURST, EVENT, EventRecorder
from informers.metrics import Metrics
from informers.objects import Object, ObjectKey, Resource
from informers.testing.clock import VirtualClock, run_virtual
from informers.testing.simulation import Simulation, simulate
from tests.hanging import HANGS


class Server:
    """Stores events; may fail. A double of ``Client``."""

    def __init__(self) -> None:
        self.events: dict[ObjectKey, Object] = {}
        self.requests: list[tuple[float, str]] = []
        self.error: Callable[[], Exception | None] = lambda: None
        self.managers: set[str] = set()

    @property
    def client(self) -> Client:
        return cast(Client, self)

    async def create(self, resource: Resource, body: Object, *, field_manager: str = "") -> Object:
        self._count("create", field_manager)
        self.events[ObjectKey.of(body)] = copy.deepcopy(body)
        return body

    async def patch(
        self, resource: Resource, key: ObjectKey, patch: Any, *, field_manager: str = ""
    ) -> Object:
        self._count("patch", field_manager)
        if key not in self.events:
            raise NotFound(404)
        self.events[key].update(copy.deepcopy(patch))
        return self.events[key]

    def _count(self, what: str, field_manager: str) -> None:
        self.requests.append((asyncio.get_running_loop().time(), what))
        self.managers.add(field_manager)
        error = self.error()
        if error is not None:
            raise error

    def one(self) -> Object:
        (event,) = self.events.values()
        return event


POD: Object = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"namespace": "apps", "name": "web-0", "uid": "uid-web-0", "resourceVersion": "7"},
}


def say(recorder: EventRecorder, obj: Object = POD, note: str = "it happened") -> None:
    recorder.event(obj, type="Normal", reason="Happened", action="Watch", note=note)


def running(
    work: Callable[[EventRecorder, Server, Metrics], Awaitable[None]], *, capacity: int = 1000
) -> None:
    """Run a test with a recorder that sends."""

    async def main() -> None:
        server, metrics = Server(), Metrics(process=False)
        recorder = EventRecorder(
            server.client,
            controller="test-operator",
            instance="pod-1",
            clock=VirtualClock(),
            rng=random.Random(0),
            metrics=metrics,
            capacity=capacity,
        )
        sending = asyncio.ensure_future(recorder.run())
        await work(recorder, server, metrics)
        assert not sending.done()
        sending.cancel()

    run_virtual(main())


def dropped(metrics: Metrics) -> dict[str, float]:
    lines = metrics.render().decode().splitlines()
    found = [line for line in lines if line.startswith("event_recorder_dropped_total{")]
    return {line.partition('reason="')[2].partition('"')[0]: float(line.rpartition(" ")[2]) for line in found}


def test_an_event_has_everything_the_api_asks_for() -> None:
    async def work(recorder: EventRecorder, server: Server, metrics: Metrics) -> None:
        say(recorder)
        await asyncio.sleep(1)
        event = server.one()
        name = event["metadata"].pop("name")
        assert name.startswith("web-0.")
        assert event == {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"namespace": "apps"},
            "eventTime": "2027-01-15T08:00:00.000000Z",
            "reportingController": "test-operator",
            "reportingInstance": "pod-1",
            "type": "Normal",
            "reason": "Happened",
            "action": "Watch",
            "note": "it happened",
            "regarding": {
                "apiVersion": "v1",
                "kind": "Pod",
                "namespace": "apps",
                "name": "web-0",
                "uid": "uid-web-0",
                "resourceVersion": "7",
            },
        }
        assert server.managers == {"test-operator"}

    running(work)


def test_events_about_cluster_scoped_objects_live_in_the_default_namespace() -> None:
    async def work(recorder: EventRecorder, server: Server, metrics: Metrics) -> None:
        node: Object = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n" * 253, "uid": "u"}}
        say(recorder, node, note="x" * 5000)
        await asyncio.sleep(1)
        event = server.one()
        assert event["metadata"]["namespace"] == "default"
        assert len(event["metadata"]["name"]) <= 253
        assert len(event["note"].encode()) == 1024

    running(work)


def test_repetitions_become_a_series_that_is_written_now_and_then() -> None:
    async def work(recorder: EventRecorder, server: Server, metrics: Metrics) -> None:
        say(recorder)
        await asyncio.sleep(1)
        assert "series" not in server.one()
        say(recorder)
        await asyncio.sleep(1)
        assert server.one()["series"] == {"count": 2, "lastObservedTime": "2027-01-15T08:00:01.000000Z"}
        for _ in range(600):
            say(recorder)
            await asyncio.sleep(1)
        assert len(server.requests) <= 2 + 600 / 60 + 1
        await asyncio.sleep(61)
        assert server.one()["series"]["count"] == 602
        writes = len(server.requests)
        await asyncio.sleep(10_000)
        assert len(server.requests) == writes, "what is over is not written again"

    running(work)


def test_after_six_quiet_minutes_it_is_a_new_event() -> None:
    async def work(recorder: EventRecorder, server: Server, metrics: Metrics) -> None:
        say(recorder)
        await asyncio.sleep(359)
        say(recorder)
        await asyncio.sleep(361)
        say(recorder)
        await asyncio.sleep(1)
        assert len(server.events) == 2

    running(work)


def test_different_notes_and_objects_are_different_events() -> None:
    async def work(recorder: EventRecorder, server: Server, metrics: Metrics) -> None:
        reborn = copy.deepcopy(POD)
        reborn["metadata"]["uid"] = "another"
        say(recorder)
        say(recorder, note="else")
        say(recorder, reborn)
        newer = copy.deepcopy(POD)
        newer["metadata"]["resourceVersion"] = "8"
        say(recorder, newer)
        await asyncio.sleep(1)
        assert len(server.events) == 3

    running(work)


def test_one_object_cannot_flood_and_does_not_silence_others() -> None:
    async def work(recorder: EventRecorder, server: Server, metrics: Metrics) -> None:
        for number in range(100):
            say(recorder, note=str(number))
        other = copy.deepcopy(POD)
        other["metadata"]["uid"] = "other"
        say(recorder, other)
        await asyncio.sleep(1)
        assert len(server.events) == BURST + 1
        assert dropped(metrics) == {"spam": 100 - BURST}
        await asyncio.sleep(601)
        for number in range(10):
            say(recorder, note=f"later {number}")
        await asyncio.sleep(1)
        assert len(server.events) == BURST + 3

    running(work)


def test_a_flood_of_news_does_not_silence_warnings() -> None:
    async def work(recorder: EventRecorder, server: Server, metrics: Metrics) -> None:
        for number in range(BURST + 1):
            say(recorder, note=str(number))
        recorder.event(POD, type="Warning", reason="Trouble", action="Look", note="listen")
        await asyncio.sleep(1)
        assert "Trouble" in {event["reason"] for event in server.events.values()}

    running(work)


def test_a_full_queue_drops_and_counts() -> None:
    async def work(recorder: EventRecorder, server: Server, metrics: Metrics) -> None:
        for number in range(50):
            obj = copy.deepcopy(POD)
            obj["metadata"]["uid"] = str(number)
            say(recorder, obj)
        await asyncio.sleep(1)
        assert len(server.events) == 10
        assert dropped(metrics) == {"overflow": 40}
        say(recorder, obj)
        await asyncio.sleep(1)
        assert len(server.events) == 11, "a dropped event is not half remembered"

    running(work, capacity=10)


def test_an_outage_is_waited_out_and_then_given_up() -> None:
    async def work(recorder: EventRecorder, server: Server, metrics: Metrics) -> None:
        until = 5.0
        loop = asyncio.get_running_loop()
        server.error = lambda: TransportError("refused") if loop.time() < until else None
        say(recorder)
        await asyncio.sleep(60)
        assert len(server.events) == 1
        until = 1e9
        say(recorder, note="lost")
        await asyncio.sleep(60)
        assert len(server.events) == 1
        assert dropped(metrics) == {"unreachable": 1}

    running(work)


@pytest.mark.parametrize(("error", "why"), [(Forbidden(403), "refused"), (Fenced("no leader"), "fenced")])
def test_what_will_not_get_better_is_not_retried(error: Exception, why: str) -> None:
    async def work(recorder: EventRecorder, server: Server, metrics: Metrics) -> None:
        server.error = lambda: error
        say(recorder)
        await asyncio.sleep(600)
        assert len(server.requests) == 1
        assert dropped(metrics) == {why: 1}

    running(work)


def test_a_throttling_server_is_obeyed() -> None:
    async def work(recorder: EventRecorder, server: Server, metrics: Metrics) -> None:
        answers: list[Exception | None] = [TooManyRequests(429, retry_after=30), None]
        server.error = lambda: answers.pop(0)
        say(recorder)
        await asyncio.sleep(60)
        assert [round(when) for when, _ in server.requests] == [0, 30]
        assert server.events

    running(work)


def test_an_expired_event_is_told_again() -> None:
    async def work(recorder: EventRecorder, server: Server, metrics: Metrics) -> None:
        say(recorder)
        await asyncio.sleep(1)
        server.events.clear()
        say(recorder)
        await asyncio.sleep(1)
        assert server.one()["series"]["count"] == 2

    running(work)


def test_recording_never_raises(caplog: pytest.LogCaptureFixture) -> None:
    async def work(recorder: EventRecorder, server: Server, metrics: Metrics) -> None:
        say(recorder, {"metadata": {}})
        assert dropped(metrics) == {"malformed": 1}

    running(work)
    assert "could not be recorded" in caplog.text


def test_what_cannot_be_written_down_is_dropped_and_others_are_sent() -> None:
    async def work(recorder: EventRecorder, server: Server, metrics: Metrics) -> None:
        server.error = lambda: TypeError("no JSON") if len(server.requests) == 1 else None
        say(recorder)
        say(recorder, note="else")
        await asyncio.sleep(1)
        assert server.one()["note"] == "else"
        assert dropped(metrics) == {"malformed": 1}

    running(work)


@pytest.mark.parametrize(
    ("note", "sent"),
    [
        ("x" * 1024, "x" * 1024),
        ("x" * 1025, "x" * 1021 + "…"),
        ("ü" * 513, "ü" * 510 + "…"),
        ("a surrogate \udcff", "a surrogate ?"),
    ],
)
def test_notes_are_what_a_server_takes(note: str, sent: str) -> None:
    async def play(world: Simulation) -> None:
        recorder = EventRecorder(world.client(), controller="test", instance="ü" * 100, clock=world.clock)
        sending = asyncio.ensure_future(recorder.run())
        say(recorder, note=note)
        await world.sleep(1)
        (event,) = (await world.client().list(EVENT)).items
        assert event["note"] == sent
        assert len(event["reportingInstance"].encode()) <= 128
        sending.cancel()

    simulate(play, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "apps"}})


def test_an_event_whose_answer_was_lost_is_not_lost() -> None:
    async def play(world: Simulation) -> None:
        metrics = Metrics(process=False)
        client = world.client()
        recorder = EventRecorder(client, controller="test", instance="x", clock=world.clock, metrics=metrics)
        sending = asyncio.ensure_future(recorder.run())
        world.fault(verb="create", cut="after", times=1)
        say(recorder)
        await world.sleep(0.5)
        say(recorder)
        await world.sleep(10)
        (event,) = (await client.list(EVENT)).items
        assert event["series"]["count"] == 2
        assert dropped(metrics) == {}
        sending.cancel()

    simulate(play, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "apps"}})


@pytest.mark.parametrize("name", ["system:node", "Admin", "web-0.", "x" * 253])
def test_an_object_of_any_name_may_have_events(name: str) -> None:
    async def play(world: Simulation) -> None:
        recorder = EventRecorder(world.client(), controller="test", instance="x", clock=world.clock)
        sending = asyncio.ensure_future(recorder.run())
        role = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": name},
        }
        say(recorder, role)
        await world.sleep(1)
        (event,) = (await world.client().list(EVENT)).items
        assert event["regarding"]["name"] == name
        sending.cancel()

    simulate(play)


async def test_an_event_may_be_recorded_in_a_thread() -> None:
    server, metrics = Server(), Metrics(process=False)
    recorder = EventRecorder(
        server.client, controller="test", instance="x", clock=SystemClock(), metrics=metrics
    )
    sending = asyncio.ensure_future(recorder.run())
    await asyncio.sleep(0)
    # In debug mode a loop tells who touches it from another thread.
    asyncio.get_running_loop().set_debug(True)
    await asyncio.to_thread(say, recorder)
    async with asyncio.timeout(HANGS):
        while not server.events:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert dropped(metrics) == {}
    sending.cancel()


@pytest.mark.parametrize(("cause", "loud"), [("NamespaceTerminating", False), ("Quota", True)])
def test_a_namespace_that_ends_takes_events_along_in_silence(
    cause: str, loud: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(recorder: EventRecorder, server: Server, metrics: Metrics) -> None:
        server.error = lambda: Forbidden(403, "Forbidden", "no", {"causes": [{"reason": cause}]})
        say(recorder)
        await asyncio.sleep(1)
        assert dropped(metrics) == {"refused": 1}
        assert [one.levelname for one in caplog.records] == (["WARNING"] if loud else [])

    running(work)


def test_flushing_sends_what_is_left_or_gives_up_in_time(caplog: pytest.LogCaptureFixture) -> None:
    async def work(recorder: EventRecorder, server: Server, metrics: Metrics) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(5):
            say(recorder)
            await asyncio.sleep(1)
        say(recorder, note="last words")
        await recorder.flush(2)
        assert loop.time() == pytest.approx(5)
        counts = [(event.get("series") or {"count": 1})["count"] for event in server.events.values()]
        assert sorted(counts) == [1, 5]
        server.error = lambda: TransportError("refused")
        say(recorder, note="too late")
        await recorder.flush(2)
        assert loop.time() == pytest.approx(7)

    running(work)
    assert "not sent" in caplog.text


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from([0.0, 0.1, 30.0, 100.0, 359.0, 400.0])), max_size=40
    )
)
def test_every_occurrence_is_in_some_count(script: list[tuple[str, float]]) -> None:
    """Whatever happens when: once quiet, the counts on the server add up to what was recorded."""

    async def work(recorder: EventRecorder, server: Server, metrics: Metrics) -> None:
        for note, pause in script:
            say(recorder, note=note)
            await asyncio.sleep(pause)
        await asyncio.sleep(1_000)
        for note in "abc":
            told = sum(
                (event.get("series") or {"count": 1})["count"]
                for event in server.events.values()
                if event["note"] == note
            )
            assert told == sum(one == note for one, _ in script)

    running(work)
