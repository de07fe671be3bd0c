"""Random histories of the data plane in virtual time: services fail in every way, nodes and streams end.

All but gRPC itself is the real code. A history is drawn from its number; ``DATA_HISTORIES`` says how many are
played.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import grpc
import pytest
from grpc.aio import AioRpcError, Metadata

from etl_operator.node.data import frames
from etl_operator.node.data.call import Services, Tuning
from etl_operator.node.data.credit import Amount, Limits
from etl_operator.node.data.frames import Frame
from etl_operator.node.data.ledger import Ticket, Verdict
from etl_operator.node.data.plane import DataPlane, amount_of
from etl_operator.node.data.view import Pipeline, Service, Snapshot
from etl_operator.router.pb import common_pb2, router_pb2, sink_pb2, source_pb2, transform_pb2
from tests.node.data.made import line, record
from tests.virtual import play

HISTORIES = int(os.environ.get("DATA_HISTORIES", "25"))
TRANSFORM, SINK = common_pb2.SERVICE_TYPE_TRANSFORM, common_pb2.SERVICE_TYPE_SINK
FAULTS_END = 60.0
"""Virtual seconds after which nothing fails any more."""
WINDOW = 4
"""Batches of a source without an answer."""

UNSPLIT = 60
"""Positions up to this one are filtered or passed, so that their batches stay bytes."""

Key = tuple[str, int, int, bytes]


class Unconnected:
    """A channel: its methods are their paths."""

    def unary_unary(self, path: str, **options: Any) -> str:
        return path

    def stream_stream(self, path: str, **options: Any) -> Any:
        return lambda requests, **more: NoStream()


class NoStream:
    """What a service without streams answers."""

    def cancel(self) -> None:
        pass

    async def __aiter__(self) -> AsyncIterator[Any]:
        raise aborted(grpc.StatusCode.UNIMPLEMENTED)
        yield


def key_of(one: common_pb2.Record) -> Key:
    return (one.id.source_id, one.id.partition, one.id.sequence_number, one.id.idempotency_key)


def aborted(code: grpc.StatusCode) -> AioRpcError:
    return AioRpcError(code, Metadata(), Metadata(), details="as ordered", debug_error_string=None)


@dataclass
class World:
    """What outlives the nodes."""

    chance: random.Random
    faults: frozenset[str]
    """``calls`` fail, nodes are killed (``kills``), pipelines ``let go``, ``streams`` break."""
    stored: dict[str, list[Key]] = field(default_factory=lambda: {"out": [], "p-dlq": []})
    calls: dict[str, list[tuple[list[Key], list[Key]]]] = field(
        default_factory=lambda: {"out": [], "p-dlq": []}
    )
    """Of each sink: what a call had, and what of it was stored."""
    poison: set[tuple[str, int, int]] = field(default_factory=set)
    bad: set[tuple[str, int, int]] = field(default_factory=set)
    excused: set[Key] = field(default_factory=set)
    """Records that failed for a moment: once each, so that none of them is a dead letter."""
    repeated: int = 0
    """Records that may come twice because of a fault."""

    def faulty(self) -> bool:
        return "calls" in self.faults and asyncio.get_running_loop().time() < FAULTS_END

    async def call(self, path: str, request: Any) -> Any:
        if path.endswith("GetCapabilities"):
            return transform_pb2.Capabilities(max_batch_size=self.chance.choice([0, 3]))
        if path.endswith("GetCapacity"):
            return sink_pb2.CapacityResponse(available_capacity=self.chance.choice([0, 2]))
        await asyncio.sleep(self.chance.expovariate(20))
        fault = self.chance.random() if self.faulty() else 1.0
        if fault < 0.1:
            raise aborted(
                self.chance.choice(
                    [
                        grpc.StatusCode.UNAVAILABLE,
                        grpc.StatusCode.RESOURCE_EXHAUSTED,
                        grpc.StatusCode.UNIMPLEMENTED,
                    ]
                )
            )
        answer = self.transform(request) if path.endswith("ProcessBatch") else self.write(request)
        lasts = self.chance.expovariate(20)
        await asyncio.sleep(lasts)
        if fault < 0.2:  # The answer is lost.
            self.repeated += (
                len(getattr(request, "batch", request).records) if path.endswith("WriteBatch") else 0
            )
            raise aborted(
                self.chance.choice([grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED])
            )
        return answer

    def transform(self, request: transform_pb2.ProcessBatchRequest) -> transform_pb2.ProcessBatchResponse:
        results = [self.changed(one) for one in request.input_batch.records]
        if self.chance.random() < 0.2:
            self.chance.shuffle(results)
        return transform_pb2.ProcessBatchResponse(results=results)

    def changed(self, one: common_pb2.Record) -> transform_pb2.TransformResult:
        number, kinds = one.id.sequence_number, transform_pb2
        if number % 7 == 0:
            return kinds.TransformResult(original_id=one.id, status=kinds.TRANSFORM_STATUS_FILTERED)
        if number % 5 == 0 and number > UNSPLIT:
            children = [common_pb2.Record(payload=b"a"), common_pb2.Record(payload=b"b")]
            return kinds.TransformResult(
                original_id=one.id, status=kinds.TRANSFORM_STATUS_SPLIT, output_records=children
            )
        return kinds.TransformResult(
            original_id=one.id, status=kinds.TRANSFORM_STATUS_SUCCESS, output_records=[one]
        )

    def write(self, request: sink_pb2.WriteBatchRequest) -> sink_pb2.WriteBatchResponse:
        keys = [key_of(one) for one in request.batch.records]
        log = self.calls[request.sink_id]
        if request.sink_id == "out" and any(key[:3] in self.poison for key in keys):
            log.append((keys, []))
            raise aborted(grpc.StatusCode.INVALID_ARGUMENT)
        failed: dict[Key, bool] = {}
        for key in keys:
            if request.sink_id == "out" and key[:3] in self.bad:
                failed[key] = False
            elif self.faulty() and self.chance.random() < 0.05 and key not in self.excused:
                self.excused.add(key)
                failed[key] = True
        done = [key for key in keys if key not in failed]
        self.stored[request.sink_id] += done
        log.append((keys, done))
        results = [
            sink_pb2.RecordWriteResult(
                record_id=one.id, success=key not in failed, error="bad", retryable=failed.get(key, False)
            )
            for one, key in zip(request.batch.records, keys, strict=True)
        ]
        self.chance.shuffle(results)
        listed = results if failed or self.chance.random() < 0.5 else []
        return sink_pb2.WriteBatchResponse(status=sink_pb2.WRITE_STATUS_SUCCESS, results=listed)


class ModelServices(Services):
    """The real ones, but for the connections."""

    def __init__(self, world: World) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(Tuning(most_records=20), world.chance, monotonic=loop.time)
        self._world = world

    def _channel(self, service: Service) -> Any:
        return Unconnected()

    async def _exchange(self, service: Service, path: str, body: bytes, trace: Any) -> bytes:
        kind = (
            transform_pb2.ProcessBatchRequest if path.endswith("ProcessBatch") else sink_pb2.WriteBatchRequest
        )
        answer = await self._world.call(path, kind.FromString(body))
        data: bytes = answer.SerializeToString()
        return data

    async def _call(self, method: Any, request: Any, trace: Any) -> Any:
        return await self._world.call(method, request)


class ModelClock:
    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def now(self) -> float:
        return asyncio.get_running_loop().time() + 1.0

    def chance(self) -> float:
        return self._chance.random()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Node:
    """A node's data plane; it can end at any point."""

    def __init__(self, world: World, config: router_pb2.PipelineConfig) -> None:
        limits = Limits(Amount(300, 10**7), Amount(60, 10**7), Amount(200, 10**7))
        self.plane = DataPlane(limits, services=ModelServices(world), clock=ModelClock(world.chance))
        self.alive = True
        services = [
            Service("ns/t", TRANSFORM, "t", "h", 1),
            Service("ns/out", SINK, "out", "h", 2),
            Service("ns/out-2", SINK, "out", "h", 3),
            Service("ns/lost", SINK, "lost", "h", 4),
        ]
        self.services = services
        self.config = config.SerializeToString()
        self.tell(enabled=True)

    def tell(self, *, enabled: bool, drain: bool = True) -> None:
        self.plane.update(Snapshot(1, [Pipeline("ns/p", self.config, enabled, drain)], self.services))

    async def kill(self) -> None:
        self.alive = False
        await self.plane.close()


class Sender:
    """A source with one partition, as the protocol asks: in order, again from the first without an answer."""

    def __init__(self, world: World, name: str, count: int) -> None:
        self.world, self.name = world, name
        chance, positions = world.chance, list(range(1, count + 1))
        self.batches: list[list[int]] = []
        while positions:
            size = chance.randint(1, 12)
            self.batches.append(positions[:size])
            del positions[:size]
        self.verdicts: dict[int, list[Verdict]] = {}
        self.answers: Counter[int] = Counter()
        self.cut: Callable[[], None] = lambda: None
        """Break the stream: answers that come later are lost."""

    async def run(self, nodes: list[Node]) -> None:
        while len(self.verdicts) < len(self.batches):
            node = nodes[-1]
            await self._stream(node)
            await asyncio.sleep(self.world.chance.random())

    async def _stream(self, node: Node) -> None:
        """Until all is answered, the node ends or records are let go."""
        ended: list[bool] = []
        moved = asyncio.Event()
        waiting: set[int] = set()

        def cut() -> None:
            ended.append(True)
            moved.set()

        self.cut = cut

        def answered(number: int, ticket: Ticket) -> None:
            waiting.discard(number)
            moved.set()
            if not node.alive or ended:
                return
            if ticket.is_let_go:
                ended.append(True)
            else:
                self.answers[number] += 1
                self.verdicts[number] = list(ticket.verdicts)

        for number, positions in enumerate(self.batches):
            if number in self.verdicts:
                continue
            while node.alive and not ended and len(waiting) >= WINDOW:
                moved.clear()
                await moved.wait()
            batch = common_pb2.RecordBatch(records=[record(p, source=self.name) for p in positions])
            pushed: common_pb2.RecordBatch | Frame = batch
            if self.world.chance.random() < 0.7:
                found = frames.pushed(source_pb2.PushRequest(batch=batch).SerializeToString())
                assert found is not None
                pushed = found
            amount = amount_of(pushed)
            ways = node.plane.ways(self.name) if node.alive else []
            while node.alive and not ended and not node.plane.has_room(self.name, ways, amount):
                await node.plane.moved()
            if ended or not node.alive:
                break
            waiting.add(number)
            node.plane.take(pushed, self.name, ways, amount, (), partial(answered, number))
        while node.alive and waiting and not ended:
            moved.clear()
            await moved.wait()


ALL = frozenset({"calls", "kills", "let go", "streams"})


async def history(seed: int, faults: frozenset[str] = ALL) -> None:
    chance = random.Random(seed)
    world = World(chance, faults)
    config = line(transforms=["t"], dlq="lost", max_retries="3", lanes=chance.choice([0, 2]))
    # Both share the stages that follow.
    senders = [Sender(world, name, 120) for name in ("src", "other")]
    config.stages.add().CopyFrom(config.stages[0])
    config.stages[-1].id = "other"
    config.stages[-1].service_selector.service_name = "other"
    config.edges.add(from_stage="other", to_stage="t")
    for name in ("src", "other"):
        for number in chance.sample(range(1, 121), 5):
            (world.poison if chance.random() < 0.5 else world.bad).add((name, 0, number))
    nodes = [Node(world, config)]

    async def disturb() -> None:
        loop = asyncio.get_running_loop()
        kinds = sorted(faults - {"calls"})
        while loop.time() < FAULTS_END:
            await asyncio.sleep(chance.expovariate(0.3))
            node = nodes[-1]
            kind = chance.choice(kinds)
            if kind == "streams":
                chance.choice(senders).cut()
                continue
            # What has no answer comes again; where the node is another one, all of a batch does. A record has
            # two children at most.
            again = node.plane.budget.used.records if kind == "kills" else node.plane.pending
            world.repeated += 2 * again
            if kind == "kills":
                nodes.append(Node(world, config))
                await node.kill()
            else:
                flow = node.plane.flow("ns/p")
                assert flow is not None
                flow.let_go()

    disturbing = asyncio.ensure_future(disturb())
    await asyncio.gather(*(sender.run(nodes) for sender in senders))
    disturbing.cancel()
    node = nodes[-1]
    assert node.plane.pending == 0
    assert node.plane.budget.used == (0, 0)
    check(world, senders)
    node.tell(enabled=False)
    assert node.plane.report().pipelines["ns/p"].pending == 0
    await node.kill()


def check(world: World, senders: list[Sender]) -> None:
    out, lost = Counter(world.stored["out"]), Counter(world.stored["p-dlq"])
    wrong = world.poison | world.bad
    # An outage makes no dead letter: each of them is one of the records that no sink takes.
    assert {key[:3] for key in lost} <= wrong
    assert not {key[:3] for key in out} & wrong
    for sender in senders:
        assert set(sender.answers.values()) == {1}
        for number, positions in enumerate(sender.batches):
            assert set(sender.verdicts[number]) <= {Verdict.ACCEPTED, Verdict.DUPLICATE}
            for position in positions:
                whose = (sender.name, 0, position)
                keys = children(whose)
                where = lost if whose in wrong else out
                assert all(where[key] for key in keys), whose
    twice = sum(count - 1 for count in (*out.values(), *lost.values()))
    assert twice <= world.repeated
    assert_order(world.calls["out"])


def children(whose: tuple[str, int, int]) -> list[Key]:
    """What reaches a sink of a record."""
    source, partition, position = whose
    if position % 7 == 0:
        return []
    if position % 5 == 0 and position > UNSPLIT:
        return [(*whose, f"{source}/{partition}/{position}#{k}".encode()) for k in range(2)]
    return [(*whose, b"")]


def assert_order(calls: list[tuple[list[Key], list[Key]]]) -> None:
    """A record is overtaken by none but those that were in a call with it."""
    first_stored: dict[Key, int] = {}
    company: dict[Key, set[Key]] = {}
    for number, (keys, done) in enumerate(calls):
        for key in keys:
            if key not in first_stored:
                company.setdefault(key, set()).update(keys)
        for key in done:
            first_stored.setdefault(key, number)
    for key, stored in first_stored.items():
        for other, earlier in first_stored.items():
            if other[0] == key[0] and other[2] > key[2] and earlier < stored:
                assert other in company[key], f"{other} overtook {key}"


@pytest.mark.parametrize("seed", range(HISTORIES))
def test_histories(seed: int) -> None:
    play(history(seed))


@pytest.mark.parametrize("seed", range(5))
def test_a_source_that_connects_again_makes_no_duplicate(seed: int) -> None:
    play(history(seed, frozenset({"streams"})))
