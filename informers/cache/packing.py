"""Packing: bodies nobody has looked at for a while are made small, a few at a time.

A view starts hot, is warmed by every read of its raw body, and cooled by every sweep; the sweep that finds it
cold packs it. A version is a view, and packing only changes the form of its body: whatever happens to the
object meanwhile, no older state can come back. Packed stays packed: a resync that reads everything must not
blow the cache up again.

A large state is packed as it comes in, as far as it takes to never have twice its final size in memory.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from informers.cache.budget import Budget
from informers.cache.codec import ZstdCodec, train
from informers.cache.store import HEADER_BYTES, Size, Store
from informers.garbage import give_back
from informers.views.view import View

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PackingOptions:
    """What is packed, and when.

    :param enabled: false leaves everything raw.
    :param interval: seconds between two sweeps; a body is idle for one to two of them when it is packed.
    :param urgent_interval: the same while the budget is exceeded.
    :param min_objects: a kind with fewer stays raw; a dictionary and its contexts cost some 700 KB.
    :param min_bytes: a kind with fewer raw bytes stays raw.
    :param samples: objects a dictionary is trained on.
    :param sample_bytes: bytes of them at most, for the time training takes grows with them.
    :param slice_bytes: bytes packed in one go: well under a millisecond.
    :param incoming_bytes: raw bytes of an incoming state that may wait for its end in any case, or a quarter
        of the budget where that is less: whoever waits for the state does not also wait for the packing.
    :param backlog_bytes: raw bytes of an incoming state that may wait for a dictionary, beyond these.
    :param decay: how much worse than when it was trained a dictionary may do before it is replaced.
    :param judged: packed objects after which a dictionary is judged.
    """

    enabled: bool = True
    interval: float = 15.0
    urgent_interval: float = 1.0
    min_objects: int = 256
    min_bytes: int = 1024 * 1024
    samples: int = 500
    sample_bytes: int = 1024 * 1024
    slice_bytes: int = 128 * 1024
    incoming_bytes: int = 10 * 1024 * 1024
    backlog_bytes: int = 1024 * 1024
    decay: float = 1.5
    judged: int = 1000


_WORTH_GIVING_BACK = 2 * 1024 * 1024
"""Freed bytes that are worth a call."""
_SCANNED = 4096
"""Views looked at before others get their turn."""
_LEAST_SAMPLES = 10
"""Without at least so many there is no training."""
_SAMPLE = 16 * 1024
"""Bytes of an object that are enough of a sample: of large ones too few would go into one training."""


class Packer:
    """Packs the views of one kind.

    :param stores: where the kind's views are, one store per scope.
    :param budget: what all of it may take.
    :param name: of the kind, for the log.
    :param rng: draws samples.
    """

    def __init__(
        self,
        stores: Sequence[Store],
        budget: Budget,
        name: str,
        rng: random.Random,
        options: PackingOptions | None = None,
    ) -> None:
        self._stores = stores
        self._budget = budget
        self._name = name
        self._rng = rng
        self._options = options or PackingOptions()
        self._codec: ZstdCodec | None = None
        self._training: asyncio.Task[ZstdCodec | None] | None = None
        self._hopeless = 0
        """Objects there were when training came to nothing; twice as many are worth another attempt."""
        self._window: list[int] = [0, 0, 0]
        """Objects, bytes and packed bytes since the codec was last judged."""
        self._freed = 0
        """Bytes packing has made free since they were given back to the system."""
        self._kicked = asyncio.Event()
        self.problem: str | None = None
        """Set while everything is packed and the budget is exceeded all the same."""

    # -- idle views --------------------------------------------------------------------------------

    async def run(self) -> None:
        """Sweep until cancelled."""
        try:
            while True:
                # A state that has just come was read by nobody who would soon read it again.
                kicked = await self._rest()
                if not self._options.enabled:
                    self._report()
                    continue
                await self.sweep(everything=kicked or self._budget.exceeded)
                if self._freed >= _WORTH_GIVING_BACK:
                    self._freed = 0
                    await asyncio.to_thread(give_back)
        finally:
            if self._training is not None:
                self._training.cancel()
                # Whoever runs again must not wait for this one.
                self._training = None

    def kick(self) -> None:
        """Sweep now, and pack everything."""
        self._kicked.set()

    async def _rest(self) -> bool:
        """Wait for the next sweep; true when it was called for."""
        options = self._options
        try:
            async with asyncio.timeout(
                options.urgent_interval if self._budget.exceeded else options.interval
            ):
                await self._kicked.wait()
        except TimeoutError:
            return False
        self._kicked.clear()
        return True

    async def sweep(self, *, everything: bool = False) -> None:
        """Pack what is cold, and cool the rest. What cannot be packed is settled at least.

        :param everything: pack what is hot as well.
        """
        ready = await self._ready()
        for store in self._stores:
            if ready or len(store) >= self._options.min_objects:
                cold = await self._cold(store, everything)
                if ready:
                    await self.pack(store, cold)
        if ready:
            await self._judge()
        self._report()

    async def _ready(self) -> bool:
        """Whether there is a codec, or is one now."""
        if self._codec is not None:
            return True
        sizes = [store.size for store in self._stores]
        objects, raw = sum(size.objects for size in sizes), sum(size.raw for size in sizes)
        options = self._options
        small = objects < options.min_objects or raw < options.min_bytes
        if (small and not self._budget.exceeded) or objects < _LEAST_SAMPLES or self._is_hopeless(objects):
            return False
        if self._training is None:
            self._train(self._samples())
        await self._trained(objects)
        return self._codec is not None

    async def _cold(self, store: Store, everything: bool) -> list[View]:
        found = []
        for index, view in enumerate(tuple(store.all())):
            if index % _SCANNED == _SCANNED - 1:
                await asyncio.sleep(0)
            if view.codec is not None:
                continue
            if view.hot and not everything:
                view.cool()
            else:
                view.settle()
                found.append(view)
        return found

    async def pack(self, store: Store, views: Iterable[View]) -> None:
        """Pack these views of a store, in slices.

        :raises AssertionError: before there is a codec.
        """
        codec, size = self._codec, 0
        assert codec is not None, "packing comes after training"
        window = self._window
        for view in views:
            if view.codec is not None:
                continue
            size += len(view.body)
            store.replace_body(view, codec, _counted(codec, view, window))
            if size >= self._options.slice_bytes:
                self._freed += size
                size = 0
                await asyncio.sleep(0)

    # -- an incoming state -------------------------------------------------------------------------

    def intake(self) -> Intake:
        """For the states of one store."""
        return Intake(self)

    async def pack_incoming(self, waiting: list[View], too_much: int) -> tuple[int, int]:
        """Pack what has come of a state and may not wait for its end: the newest first, which is at hand.

        :param waiting: what is raw; what is packed is taken out.
        :param too_much: raw bytes of it to be packed.
        :returns: how many were, and what came of them; none as long as there is no dictionary.
        """
        options = self._options
        if self._codec is None:
            if not self._is_enough(waiting) or self._is_hopeless(len(waiting)):
                return 0, 0
            if self._training is None:
                self._train([view.json for view in waiting])
            assert self._training is not None
            if too_much < options.backlog_bytes and not self._training.done():
                # It is learned beside the next pages.
                return 0, 0
            await self._trained(len(waiting))
        codec, window = self._codec, self._window
        before, after = window[1:]
        while codec is not None and waiting and window[1] - before < too_much:
            slice_end = window[1] + options.slice_bytes
            while waiting and window[1] < slice_end:
                view = waiting.pop()
                if view.codec is None:
                    view.replace_body(codec, _counted(codec, view, window))
            await asyncio.sleep(0)
        done = window[1] - before, window[2] - after
        self._freed += done[0]
        await self._judge()
        return done

    def allowed(self, resting: int) -> int:
        """Bytes of an incoming state that may be raw.

        :param resting: what the rest of it takes.
        """
        options = self._options
        if not options.enabled:
            return sys.maxsize
        limit = self._budget.limit // 4 or sys.maxsize
        return min(max(options.incoming_bytes, resting), limit)

    # -- dictionaries ------------------------------------------------------------------------------

    def _is_enough(self, waiting: Sequence[View]) -> bool:
        """Whether there is as much to learn from as a training takes; of large objects, fewer are."""
        options = self._options
        if len(waiting) >= options.samples:
            return True
        size = sum(min(len(view.body), _SAMPLE) for view in waiting)
        return size >= options.sample_bytes and len(waiting) >= _LEAST_SAMPLES

    def _train(self, bodies: Sequence[bytes]) -> None:
        chosen, size = [], 0
        for body in self._rng.sample(bodies, min(len(bodies), self._options.samples)):
            chosen.append(body[:_SAMPLE])
            size += len(chosen[-1])
            if size >= self._options.sample_bytes:
                break
        self._training = asyncio.create_task(asyncio.to_thread(train, chosen))

    async def _trained(self, objects: int) -> None:
        """Wait for the training that is under way, and begin to use what came of it."""
        assert self._training is not None
        task = self._training
        try:
            codec = await asyncio.shield(task)
        finally:
            if task.done():
                self._training = None
        if codec is None:
            self._hopeless = objects
            return
        self._codec, self._window = codec, [0, 0, 0]
        log.debug("%s: new bodies are compressed to %.0f %%", self._name, codec.ratio * 100)

    def _is_hopeless(self, objects: int) -> bool:
        return bool(self._hopeless) and objects < 2 * self._hopeless

    def _samples(self) -> list[bytes]:
        views = [view for store in self._stores for view in store.all()]
        chosen = self._rng.sample(views, min(len(views), self._options.samples))
        return [view.json[:_SAMPLE] for view in chosen]

    async def _judge(self) -> None:
        """Replace a dictionary that has stopped being good: objects change as their controllers do."""
        codec = self._codec
        objects, size, packed = self._window
        if codec is None or objects < self._options.judged or self._training is not None:
            return
        self._window = [0, 0, 0]
        if packed / size <= codec.ratio * self._options.decay:
            return
        samples = self._samples()
        if len(samples) < _LEAST_SAMPLES:
            return
        now = codec.measure(samples)
        self._train(samples)
        await self._trained(objects)
        new = self._codec
        if new is None or new.ratio > now / 1.1:
            # The objects have become less alike; no dictionary changes that.
            codec.ratio = max(codec.ratio, now)
            self._codec = codec
        self._hopeless = 0

    # -- the budget --------------------------------------------------------------------------------

    def _report(self) -> None:
        before = self.problem
        self.problem = str(self._budget) if self._budget.exceeded else None
        if self.problem is not None and before is None:
            log.warning("%s: %s, and all bodies are compressed already", self._name, self.problem)


def _counted(codec: ZstdCodec, view: View, window: list[int]) -> bytes:
    """The packed form of a view's body; the window knows of it."""
    content = view.body
    packed = codec.pack(content)
    window[0] += 1
    window[1] += len(content)
    window[2] += len(packed)
    return packed


class Intake:
    """What comes in while a new state is collected, until it is packed or the state is complete.

    As much may be raw as the rest takes: the state never takes more than twice what it will in the end.
    """

    def __init__(self, packer: Packer) -> None:
        self._packer = packer
        self._waiting: list[View] = []
        self._raw = 0
        self._rest = 0

    def came(self, view: View) -> None:
        """A view of the state that is being collected."""
        self._waiting.append(view)
        self._raw += len(view.body)
        self._rest += HEADER_BYTES

    def begin(self) -> None:
        """Another state begins."""
        self._waiting, self._raw, self._rest = [], 0, 0

    def complete(self) -> None:
        """The state is complete. What has not been packed is left to a sweep, which comes at once."""
        self.begin()
        self._packer.kick()

    async def relieve(self) -> None:
        """Pack what is too much. Called between two pieces of a state, which come no faster than this."""
        too_much = self._raw - self._packer.allowed(self._rest)
        if too_much > 0:
            packed, into = await self._packer.pack_incoming(self._waiting, too_much)
            self._raw -= packed
            self._rest += into


def total(stores: Iterable[Store]) -> Size:
    """What several stores hold."""
    sizes = [store.size for store in stores]
    return Size(
        sum(size.objects for size in sizes),
        sum(size.raw for size in sizes),
        sum(size.compressed for size in sizes),
    )
