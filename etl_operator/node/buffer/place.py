"""The stream of one pipeline, as this process sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from etl_operator.node.buffer import naming, streams
from etl_operator.node.buffer.server import NoStream, Server, Trouble
from etl_operator.node.settings import Nats


class Place:
    """A stream and its consumers."""

    def __init__(self, server: Server, settings: Nats, pipeline_id: str) -> None:
        self.server = server
        self.pipeline_id = pipeline_id
        self.stream = naming.stream_of(settings.prefix, pipeline_id)
        self.era = ""
        """Tells the messages of this pipeline apart from those of an earlier one with the same id."""
        self.trouble = ""
        """Why the last message could not be stored, or the next one not be read."""
        self.messages: int | None = None
        """Messages in the stream when it was last looked at; None if that is not known."""
        self._settings = settings
        self._checked = False
        self._checking = asyncio.Lock()
        self._inboxes: dict[int, tuple[Client, JetStreamContext.PullSubscription]] = {}
        self._seen = _Seen()
        self._kept = _Seen()

    def created(self, when: float) -> None:
        """The pipeline was created then, in seconds since 1970."""
        self.era = f"{int(when * 1000):x}"

    async def ensure(self, *, create: bool) -> bool:
        """Make the stream, or check it, if this process has not done so yet.

        :returns: False if it does not exist, and shall not be made.
        :raises Trouble: it cannot be used.
        """
        if self._checked:
            return True
        async with self._checking:
            if not self._checked:
                wanted = streams.records(self._settings, self.pipeline_id)
                consumers = [
                    streams.consumer(self._settings, self.pipeline_id, lane) for lane in range(naming.LANES)
                ]
                self._checked = await self.server.ensure(wanted, consumers, create=create)
        return self._checked

    async def store(self, lane: int, payload: bytes, headers: Mapping[str, str], records: int) -> None:
        """Store a message.

        :raises Trouble: it is not known to be stored.
        :raises TooLarge: it never will be.
        """
        try:
            await self.ensure(create=True)
            subject = naming.subject_of(self._settings.prefix, self.pipeline_id, lane)
            is_new = await self.server.publish(self.stream, subject, payload, headers)
        except Trouble as trouble:
            self._failed(trouble)
            raise
        self.trouble = ""
        if is_new:
            self._kept.add(records)
            if self.messages is not None:
                self.messages += 1

    async def next(self, lane: int, *, create: bool) -> Msg | None:
        """The next message of a lane, if there is one soon.

        :param create: make the stream if it does not exist.
        :raises Trouble: the stream cannot be read.
        """
        try:
            await self.server.connected()
            if not await self.ensure(create=create):
                self.messages = 0
                return None
            client, inbox = self._inboxes.get(lane, (None, None))
            if inbox is None or client is not self.server.client:
                client = self.server.client
                inbox = await self.server.subscription(self.stream, naming.consumer_of(lane))
                self._inboxes[lane] = client, inbox
            message = await self.server.next(inbox, self.stream)
        except Trouble as trouble:
            self._drop_inbox(lane)
            self._failed(trouble)
            raise
        except asyncio.CancelledError:
            self._drop_inbox(lane)
            raise
        if message is None and self.server.trouble:
            self._drop_inbox(lane)
        return message

    def _drop_inbox(self, lane: int) -> None:
        """What still comes to it must not be found there later: the server gives it to somebody else."""
        _, inbox = self._inboxes.pop(lane, (None, None))
        if inbox is not None:
            self.server.drop(inbox)

    def _failed(self, trouble: Trouble) -> None:
        self.trouble = str(trouble)
        if isinstance(trouble, NoStream):
            # Somebody may have removed it: look at the next attempt.
            self._checked = False

    async def look(self, within: float) -> None:
        """Find out how many messages the stream has, not fewer than there are.

        :raises Trouble: that could not be found out within so many seconds.
        """
        stored = self.stored
        self.looked(await self.server.messages(self.stream, within), stored)

    @property
    def stored(self) -> int:
        """Messages that this process has stored."""
        return self._kept.messages

    def looked(self, messages: int, stored: int) -> None:
        """The stream had so many messages at some time since this process had ``stored`` so many."""
        self.messages = messages + self.stored - stored

    def delivered(self, records: int) -> None:
        """A message with so many records was delivered and acknowledged."""
        self.trouble = ""
        self._seen.add(records)
        if self.messages:
            self.messages -= 1

    @property
    def records(self) -> int:
        """Records in the stream: exact while this process alone stores and delivers them, otherwise computed
        from the number of messages and the mean of those it has seen."""
        messages = self.messages or 0
        if not messages:
            return 0
        if messages == self._kept.messages - self._seen.messages:
            return max(self._kept.records - self._seen.records, messages)
        every = self._kept.messages + self._seen.messages
        mean = (self._kept.records + self._seen.records) / every if every else 1
        return max(round(messages * mean), messages)


class _Seen:
    def __init__(self) -> None:
        self.messages = 0
        self.records = 0

    def add(self, records: int) -> None:
        self.messages += 1
        self.records += records
