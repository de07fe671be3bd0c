"""The connection to the NATS servers, and what is asked of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, StreamConfig, StreamInfo
from nats.js.errors import APIError, NoStreamResponseError, NotFoundError

from etl_operator.node.buffer import streams
from etl_operator.node.buffer.naming import without_credentials
from etl_operator.node.settings import Nats

log = logging.getLogger(__name__)

ANSWER_SECONDS = 5.0
"""How long a server may take to answer."""
PULL_SECONDS = 30.0
"""How long a request for the next message stands."""
_PING_SECONDS = 10
"""A server that does not answer two of these is given up."""
_AGAIN_SECONDS = 0.5
"""Between two attempts to connect to the same server."""
_MOST_ERRORS = 3
"""In a message. Each server may fail in its own way; the same ones in turn are the same state."""
_OVERHEAD = 16 * 1024
"""Bytes of a message beside its payload."""
_MESSAGE_TOO_LARGE = 10054
"""JetStream's error code of a message that the stream's ``max_msg_size`` does not allow."""
_NAME_IN_USE = 10058
"""JetStream's error code of a stream that exists with another configuration."""


class Trouble(Exception):
    """The servers did not do it, and may do it later; the text says why."""


class NoStream(Trouble):
    """The stream does not exist, or none of its servers answers."""


class TooLarge(Exception):
    """The message exceeds what the servers or the stream accept."""


class Server:
    """One connection, which is renewed for ever."""

    def __init__(self, settings: Nats) -> None:
        self._settings = settings
        self._client = Client()
        self._js: JetStreamContext = self._client.jetstream(timeout=ANSWER_SECONDS)
        self._errors = ["not connected yet"]
        """What went wrong since there was a connection, each once."""
        self._ending: set[asyncio.Task[None]] = set()
        self._open = asyncio.Event()
        self._broken = asyncio.Event()
        self._broken.set()

    @property
    def trouble(self) -> str:
        """Why there is no connection; empty if there is one."""
        if self._open.is_set():
            return ""
        return (
            f"NATS at {', '.join(map(without_credentials, self._settings.urls))}: {'; '.join(self._errors)}"
        )

    @property
    def most_bytes(self) -> int:
        """Of the payload of a message."""
        return max(int(self._client.max_payload) - _OVERHEAD, _OVERHEAD)

    async def run(self) -> None:
        """Stay connected, until cancelled."""
        while True:
            closed = asyncio.Event()
            try:
                await self._connect(closed)
                await closed.wait()
            except (nats.errors.Error, OSError, ValueError) as error:
                self._note(error)
            finally:
                self._lost()
                with contextlib.suppress(nats.errors.Error, OSError):
                    await self._client.close()
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _connect(self, closed: asyncio.Event) -> None:
        self._client = Client()

        async def failed(error: Exception) -> None:
            self._note(error)

        async def lost() -> None:
            self._lost()

        async def found() -> None:
            self._found()

        async def ended() -> None:
            closed.set()

        await self._client.connect(
            list(self._settings.urls),
            name=f"etl-router {self._settings.prefix}",
            error_cb=failed,
            disconnected_cb=lost,
            reconnected_cb=found,
            closed_cb=ended,
            max_reconnect_attempts=-1,
            reconnect_time_wait=_AGAIN_SECONDS,  # type: ignore[arg-type]
            connect_timeout=int(ANSWER_SECONDS),
            ping_interval=_PING_SECONDS,
            **_credentials(self._settings),
        )
        self._js = self._client.jetstream(timeout=ANSWER_SECONDS)
        self._found()

    def _note(self, error: Exception) -> None:
        text = str(error) or type(error).__name__
        if self._open.is_set() or text in self._errors:
            return
        self._errors = [*self._errors, text][-_MOST_ERRORS:]
        log.warning("no connection to NATS: %s", text)

    def _lost(self) -> None:
        if self._open.is_set():
            log.warning("lost the connection to NATS")
            self._errors = ["the connection was lost"]
        self._open.clear()
        self._broken.set()

    def _found(self) -> None:
        log.info("connected to NATS")
        self._errors = []
        self._broken.clear()
        self._open.set()

    @property
    def client(self) -> Client:
        """The present connection, or the next one."""
        return self._client

    async def connected(self) -> None:
        """Wait for a connection."""
        await self._open.wait()

    async def publish(self, stream: str, subject: str, payload: bytes, headers: Mapping[str, str]) -> bool:
        """Store a message.

        :returns: False if the stream had it already.
        :raises Trouble: it is not known to be stored.
        :raises TooLarge: it never will be.
        """
        self._require_connection()
        try:
            ack = await self._js.publish(
                subject, payload, timeout=ANSWER_SECONDS, stream=stream, headers=dict(headers)
            )
        except nats.errors.MaxPayloadError as error:
            raise TooLarge(str(error)) from None
        except NoStreamResponseError:
            raise NoStream(f"stream {stream} does not answer") from None
        except APIError as error:
            if error.err_code == _MESSAGE_TOO_LARGE:
                raise TooLarge(error.description or "") from None
            raise Trouble(f"stream {stream}: {error.description}") from None
        except (nats.errors.Error, TimeoutError, OSError) as error:
            raise Trouble(_text(stream, error)) from None
        return not ack.duplicate

    async def ensure(self, wanted: StreamConfig, consumers: list[ConsumerConfig], *, create: bool) -> bool:
        """Make a stream and its consumers, or check them.

        :returns: False if it does not exist, and shall not be made.
        :raises Trouble: it cannot be used.
        """
        self._require_connection()
        name = wanted.name or ""
        try:
            found = await self._found_or_made(wanted, create=create)
            if found is None:
                return False
            if streams.differs(found, wanted):
                found = (await self._js.update_stream(_merged(found, wanted))).config
            problem = streams.refusal(found, wanted)
            if problem:
                raise Trouble(problem)
            for consumer in consumers:
                await self._js.add_consumer(name, consumer)
        except APIError as error:
            raise Trouble(f"stream {name}: {error.description}") from None
        except (nats.errors.Error, TimeoutError, OSError) as error:
            raise Trouble(_text(name, error)) from None
        return True

    async def _found_or_made(self, wanted: StreamConfig, *, create: bool) -> StreamConfig | None:
        name = wanted.name or ""
        try:
            return (await self._js.stream_info(name)).config
        except NotFoundError:
            if not create:
                return None
        try:
            made = await self._js.add_stream(wanted)
        except APIError as error:
            if error.err_code != _NAME_IN_USE:
                raise
            # Another member was faster.
            return (await self._js.stream_info(name)).config
        log.info("made stream %s with %s replicas", name, wanted.num_replicas)
        return made.config

    async def messages(self, stream: str, within: float) -> int:
        """Messages in a stream; 0 if it does not exist.

        :raises Trouble: that could not be found out.
        """
        self._require_connection()
        try:
            async with asyncio.timeout(within):
                info: StreamInfo = await self._js.stream_info(stream)
        except NotFoundError:
            return 0
        except (nats.errors.Error, TimeoutError, OSError) as error:
            raise Trouble(_text(stream, error)) from None
        return info.state.messages

    async def all_messages(self, subjects: str) -> dict[str, int]:
        """Messages by stream, of the streams with one of the subjects.

        :raises Trouble: that could not be found out.
        """
        found: dict[str, int] = {}
        while True:
            request = {"offset": len(found), "subject": subjects}
            answer = await self._asked("$JS.API.STREAM.LIST", request)
            page = answer.get("streams") or []
            found |= {one["config"]["name"]: one["state"]["messages"] for one in page}
            if not page or len(found) >= answer.get("total", 0):
                return found

    async def _asked(self, subject: str, request: Mapping[str, Any]) -> dict[str, Any]:
        self._require_connection()
        try:
            answer = await self._client.request(subject, json.dumps(request).encode(), timeout=ANSWER_SECONDS)
            body: dict[str, Any] = json.loads(answer.data)
        except (nats.errors.Error, TimeoutError, OSError, ValueError) as error:
            raise Trouble(_text(subject, error)) from None
        if "error" in body:
            raise Trouble(f"{subject}: {body['error'].get('description')}")
        return body

    async def subscription(self, stream: str, consumer: str) -> JetStreamContext.PullSubscription:
        """An inbox for the messages of a consumer.

        :raises Trouble: it could not be made.
        """
        self._require_connection()
        try:
            return await self._js.pull_subscribe_bind(consumer=consumer, stream=stream)
        except (nats.errors.Error, TimeoutError, OSError) as error:
            raise Trouble(_text(stream, error)) from None

    async def next(self, inbox: JetStreamContext.PullSubscription, stream: str) -> Msg | None:
        """The next message. None after `PULL_SECONDS`, and when the connection was lost meanwhile: the
        request ended with it.

        :raises Trouble: the consumer does not exist, or its server does not answer.
        """
        self._require_connection()
        fetching = asyncio.ensure_future(inbox.fetch(1, PULL_SECONDS))
        losing = asyncio.ensure_future(self._broken.wait())
        try:
            await asyncio.wait((fetching, losing), return_when=asyncio.FIRST_COMPLETED)
            if not fetching.done():
                return None
            return fetching.result()[0]
        except (nats.errors.TimeoutError, TimeoutError):
            return None
        except (APIError, nats.errors.NoRespondersError, NoStreamResponseError) as error:
            raise NoStream(_text(stream, error)) from None
        except (nats.errors.Error, OSError) as error:
            raise Trouble(_text(stream, error)) from None
        finally:
            for task in (fetching, losing):
                task.cancel()
            await asyncio.gather(fetching, losing, return_exceptions=True)

    def drop(self, inbox: JetStreamContext.PullSubscription) -> None:
        """End a subscription, without waiting."""

        async def end() -> None:
            with contextlib.suppress(nats.errors.Error, OSError):
                await inbox.unsubscribe()

        task = asyncio.ensure_future(end())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def _require_connection(self) -> None:
        # Without one, the client would keep messages and send them at some later time.
        if not self._open.is_set():
            raise Trouble(self.trouble)


def _text(where: str, error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return f"stream {where}: no answer within {ANSWER_SECONDS:g} s"
    return f"stream {where}: {error or type(error).__name__}"


def _merged(found: StreamConfig, wanted: StreamConfig) -> StreamConfig:
    return found.evolve(max_bytes=wanted.max_bytes, num_replicas=wanted.num_replicas)


def _read_again(file: Path) -> Callable[[], str]:
    return lambda: file.read_text().strip()


def _credentials(settings: Nats) -> dict[str, Any]:
    """Options of a connection, from the files of the credentials directory. But for those of TLS, they are
    read again whenever the client connects.

    :raises OSError: a file cannot be read.
    """
    tls = any(url.startswith(("tls://", "wss://")) for url in settings.urls)
    if not settings.credentials_dir:
        return {"tls": ssl.create_default_context()} if tls else {}
    directory = Path(settings.credentials_dir)
    names = {path.name for path in directory.iterdir()}
    found: dict[str, Any] = {}
    if "nats.creds" in names:
        found["user_credentials"] = str(directory / "nats.creds")
    for name, option in (("token", "token"), ("username", "user"), ("password", "password")):
        if name in names:
            found[option] = _read_again(directory / name)
    if tls or names & {"ca.crt", "tls.crt"}:
        authority = directory / "ca.crt" if "ca.crt" in names else None
        found["tls"] = ssl.create_default_context(cafile=authority)
        if "tls.crt" in names:
            found["tls"].load_cert_chain(directory / "tls.crt", directory / "tls.key")
    return found
