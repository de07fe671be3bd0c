"""``etl-operator dlq``: reads dead letters that ``etl-service sink file`` wrote, and sends them again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import grpc
import grpc.aio

from etl_operator.router.pb import common_pb2, sidecar_pb2, sidecar_pb2_grpc
from etl_operator.services.records import LineError, name_of, record_of
from etl_operator.tls.credentials import ChannelTls

PREFIX = "_dlq_"
"""Metadata keys with it are the router's."""
BATCH = 100
"""Records in one call."""
DEADLINE = 60.0
"""Seconds for one call: the router answers when every record is decided."""
_UNLIMITED = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
]


class DlqError(Exception):
    """What went wrong, where, and what to do, for people."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter."""

    record: common_pb2.Record
    line: bytes
    """As it is in the file."""

    @property
    def name(self) -> str:
        """``source/partition/sequence number``."""
        return name_of(self.record.id)

    def about(self, key: str) -> str:
        """What the router noted under ``_dlq_<key>``; "" if it did not."""
        return self.record.metadata.get(PREFIX + key, "")


@dataclass(frozen=True, slots=True)
class Selection:
    """Which dead letters are meant."""

    pipeline: str
    """``namespace/name``."""
    stages: Collection[str] = ()
    """Ids of the stages that failed; empty for all."""
    codes: Collection[str] = ()
    """Error codes; empty for all."""
    records: Collection[str] = ()
    """``source/partition/sequence number``; empty for all."""

    def takes(self, letter: Letter) -> bool:
        """Whether this one is meant."""
        return (
            letter.about("pipeline") == self.pipeline
            and (not self.stages or letter.about("failed_stage") in self.stages)
            and (not self.codes or letter.about("error_code") in self.codes)
            and (not self.records or letter.name in self.records)
        )


def read(lines: Iterable[bytes], name: str, selection: Selection) -> list[Letter]:
    """The selected letters, in the order of the file, each record once for each stage: the last one counts.

    Records without a sequence number cannot be told apart, and are all there.

    :param name: of the file, for messages.
    :raises DlqError: a line is no record.
    """
    found: dict[object, Letter] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            letter = Letter(record_of(line), line)
        except LineError as error:
            raise DlqError(f"{name}, line {number}: {error}") from None
        if selection.takes(letter):
            position = letter.record.id.sequence_number
            key = (letter.name, letter.about("failed_stage")) if position else number
            found.pop(key, None)
            found[key] = letter
    return list(found.values())


def table(letters: Sequence[Letter]) -> Iterator[str]:
    """One line for each letter, under a headline."""
    head = ("FAILED", "STAGE", "CODE", "ATTEMPTS", "RECORD", "MESSAGE")
    keys = ("last_failure", "failed_stage", "error_code", "retry_count")
    rows = [
        (*(letter.about(key) for key in keys), letter.name, letter.about("error_message").partition("\n")[0])
        for letter in letters
    ]
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head) - 1)]
    for row in (head, *rows):
        yield "  ".join(
            [*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[-1]]
        ).rstrip()


async def replay(
    letters: Sequence[Letter], address: str, say: Callable[[str], None], tls: ChannelTls | None = None
) -> bool:
    """Send letters to the stages where they failed. True if the router took all of them.

    :param address: ``host:port`` of any member.
    :param say: is told what came of it.
    :param tls: of the connection, or None.
    :raises DlqError: the router refuses the call, or does not answer. What was sent before is decided.
    """
    outcomes: Counter[int] = Counter()
    options = [*_UNLIMITED, ("grpc.enable_http_proxy", 0)]
    if tls is None:
        opened = grpc.aio.insecure_channel(address, options=options)
    else:
        opened = grpc.aio.secure_channel(address, tls.credentials(), options=options)
    async with opened as channel:
        stub = sidecar_pb2_grpc.SidecarDataPlaneStub(channel)  # type: ignore[no-untyped-call]
        for request in _requests(letters):
            try:
                answer = await stub.ReceiveRecords(request, timeout=DEADLINE)
            except grpc.aio.AioRpcError as error:
                done = outcomes[sidecar_pb2.ACK_STATUS_SUCCESS]
                raise DlqError(
                    f"router {address}, stage {request.stage_id}: {error.code().name}: {error.details()} "
                    f"({done} of {len(letters)} records were accepted before)"
                ) from None
            for ack in answer.record_acks:
                outcomes[ack.status] += 1
                if ack.status != sidecar_pb2.ACK_STATUS_SUCCESS:
                    say(f"{name_of(ack.record_id)}: {ack.error or 'not processed yet; replay it again'}")
    taken = outcomes[sidecar_pb2.ACK_STATUS_SUCCESS]
    say(f"the router accepted {taken} of {len(letters)} records")
    return taken == len(letters)


def _requests(letters: Sequence[Letter]) -> Iterator[sidecar_pb2.ReceiveRecordsRequest]:
    """A call has one stage and one source."""
    groups: dict[tuple[str, str, str], list[common_pb2.Record]] = {}
    for letter in letters:
        key = letter.about("pipeline"), letter.about("failed_stage"), letter.record.id.source_id
        groups.setdefault(key, []).append(letter.record)
    for (pipeline, stage, _), records in groups.items():
        left = iter(records)
        while part := list(islice(left, BATCH)):
            batch = common_pb2.RecordBatch(records=part)
            yield sidecar_pb2.ReceiveRecordsRequest(pipeline_id=pipeline, stage_id=stage, batch=batch)
