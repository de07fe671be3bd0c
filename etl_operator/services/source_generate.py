"""The source ``generate``: generated user events."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator, Sequence

import msgspec

from etl_operator.router.pb.common_pb2 import Record
from etl_operator.services.routers import Position
from etl_operator.services.source import Pushing, Source

_COUNTRIES = ("DE", "FR", "GB", "IN", "JP", "KE", "BR", "US")
_ACTIONS = ("login", "view", "purchase", "logout")
_TICK = 0.05
"""Seconds between lists of records if a rate is set."""
_USERS = 10_000


class GenerateSource(Source):
    """Events with the fields ``user``, ``active`` (three of four), ``country``, ``action`` and ``amount``.

    :param count: number of records; ``None`` means no limit.
    :param rate: records per second; 0 means no limit.
    :param seed: seed of the records.
    :param size: minimum bytes of a payload; the field ``padding`` fills it.
    """

    def __init__(
        self, pushing: Pushing, *, count: int | None = None, rate: float = 0, seed: int = 0, size: int = 200
    ) -> None:
        super().__init__(pushing)
        self._count = count
        self._rate = rate
        self._seed = seed
        self._size = size

    async def read(self, position: Position) -> AsyncGenerator[Sequence[Record], None]:
        """Records after the position; a sequence number always has the same record."""
        first = position.offsets.get(0, 0) + 1
        began, made = time.monotonic(), 0
        while self._count is None or first + made <= self._count:
            number = self.pushing.batch_size
            if self._rate:
                due = int((time.monotonic() - began) * self._rate) + 1 - made
                if due < 1:
                    await asyncio.sleep(max(_TICK, 1 / self._rate))
                    continue
                number = min(number, due)
            if self._count is not None:
                number = min(number, self._count - first - made + 1)
            yield [self.record(first + made + index) for index in range(number)]
            made += number

    def record(self, number: int) -> Record:
        """The record with this sequence number, from 1."""
        digest = hashlib.blake2b(f"{self._seed}/{number}".encode(), digest_size=8).digest()
        dice = int.from_bytes(digest)
        user = f"user-{dice % _USERS}"
        event = {
            "user": user,
            "active": (dice >> 16) % 4 > 0,
            "country": _COUNTRIES[(dice >> 24) % len(_COUNTRIES)],
            "action": _ACTIONS[(dice >> 32) % len(_ACTIONS)],
            "amount": (dice >> 40) % 100_000 / 100,
        }
        payload = msgspec.json.encode(event)
        if len(payload) < self._size:
            # The field's name and quotes count as well.
            event["padding"] = "x" * max(0, self._size - len(payload) - len(',"padding":""'))
            payload = msgspec.json.encode(event)
        record = Record(record_type="user-event", key=user.encode(), payload=payload)
        record.id.sequence_number = number
        record.id.idempotency_key = b"%d-%d" % (self._seed, number)
        record.event_time.FromSeconds(1_700_000_000 + number)
        return record
