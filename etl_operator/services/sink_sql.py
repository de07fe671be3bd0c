"""The sink ``sql``: one row per record, written by an upsert, so that a batch that comes again changes
nothing."""

from __future__ import annotations

import hashlib
import logging
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any

import msgspec
import sqlalchemy as sql
from sqlalchemy import exc
from sqlalchemy.dialects import postgresql, sqlite

from etl_operator.router.pb.common_pb2 import Record
from etl_operator.services.errors import StartError, Unavailable
from etl_operator.services.sink import Refusal, Sink

log = logging.getLogger(__name__)

DIALECTS = ("sqlite", "postgresql")
_LARGEST = 2**63 - 1
_NO_JSON = object()
_PARTS = re.compile(rb"[#0-9]*")
_KEYS = ("source_id", "record_key")
_JSON = sql.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
_CONNECT_SECONDS = 10
_POSTGRESQL = {
    "connect_timeout": _CONNECT_SECONDS,
    # A server that stops responding is detected within half a minute, also during a write.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""Default parameters of libpq; the URL can override them."""
_OF_RECORDS = ("22", "23", "54")
"""Classes of SQLSTATE that a value causes: data exceptions, constraint violations, exceeded limits."""
_LONGEST_KEY = 512
"""Maximum characters of a key: indexes limit the length."""


@dataclass(frozen=True, slots=True)
class _Row:
    index: int
    values: dict[str, Any]


class SqlSink(Sink):
    """Writes records into a table, which it creates if it does not exist.

    The primary key is the source and the key of the record: its idempotency key (``k:`` and text, ``x:`` and
    hexadecimal digits), or its position in the source (``s:partition-sequence``); ``h:`` and a SHA-256 if
    that is long. A record with neither gets a new key each time it is received.

    :param url: database URL of SQLAlchemy: ``sqlite:////data/records.db``, ``postgresql://user@host/name``.
    :param table: its name.
    """

    def __init__(self, url: str, table: str = "records") -> None:
        super().__init__()
        self._engine = _engine(url)
        self._table = _table(table)
        self._statement = _upsert(self._table, self._engine.dialect.name)

    async def open(self) -> None:
        """Connect, and create the table or check the existing one.

        :raises StartError: no connection, no permission to create the table, or a table with other columns.
        """
        try:
            with self._engine.begin() as connection:
                self._table.create(connection, checkfirst=True)
                self._compare(connection)
        except exc.SQLAlchemyError as error:
            raise StartError(f"cannot use {self._name}: {_reason(error)}") from error
        log.info("writing", extra={"database": self._name, "table": self._table.name})

    async def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def write(self, records: Sequence[Record]) -> list[Refusal]:
        """Upsert records in one transaction, without those that the database cannot store.

        :raises Unavailable: the database does not answer or cannot store rows now.
        """
        refusals: list[Refusal] = []
        rows: list[_Row] = []
        for index, record in enumerate(records):
            try:
                rows.append(_Row(index, values_of(record)))
            except (ValueError, OverflowError) as error:
                refusals.append(Refusal(index, str(error)))
        try:
            self._store(rows)
        except Exception as error:
            self._blame(error)
            refusals += self._one_by_one(rows)
        return refusals

    def _store(self, rows: Sequence[_Row]) -> None:
        if rows:
            with self._engine.begin() as connection:
                connection.execute(self._statement, [row.values for row in rows])

    def _one_by_one(self, rows: Sequence[_Row]) -> list[Refusal]:
        refusals = []
        for row in rows:
            try:
                self._store([row])
            except Exception as error:
                self._blame(error)
                refusals.append(Refusal(row.index, _reason(error)))
        return refusals

    def _blame(self, error: Exception) -> None:
        """Return if a record is the cause of the error.

        :raises Unavailable: the database is the cause.
        """
        state = str(getattr(getattr(error, "orig", None), "sqlstate", None) or "")
        if state[:2] in _OF_RECORDS:
            return
        if isinstance(error, exc.DBAPIError) and not isinstance(error, exc.DataError | exc.IntegrityError):
            raise Unavailable(f"cannot write to {self._name}: {_reason(error)}") from error
        if isinstance(error, exc.TimeoutError):
            raise Unavailable(f"cannot write to {self._name}: {_reason(error)}") from error

    def _compare(self, connection: sql.Connection) -> None:
        there = {column["name"] for column in sql.inspect(connection).get_columns(self._table.name)}
        missing = [column.name for column in self._table.columns if column.name not in there]
        key = sql.inspect(connection).get_pk_constraint(self._table.name)["constrained_columns"]
        if missing or set(key) != set(_KEYS):
            raise StartError(
                f"table {self._table.name} in {self._name} cannot be used by this sink: it needs the columns "
                f"{', '.join(column.name for column in self._table.columns)} with the primary key "
                f"({', '.join(_KEYS)}); set another table with --table"
            )

    @property
    def _name(self) -> str:
        return self._engine.url.render_as_string(hide_password=True)


def _engine(url: str) -> sql.Engine:
    """:raises StartError: the URL is not valid, or its dialect or driver is not available."""
    try:
        parsed = sql.make_url(url)
        dialect = parsed.get_backend_name()
        if dialect not in DIALECTS:
            raise StartError(f"{dialect!r} databases are not supported, only {' and '.join(DIALECTS)}")
        options: dict[str, Any] = {"connect_args": {"timeout": _CONNECT_SECONDS}}
        if dialect == "postgresql":
            options = {"pool_pre_ping": True}
            options["connect_args"] = {
                key: value for key, value in _POSTGRESQL.items() if key not in parsed.query
            }
            if parsed.drivername == "postgresql":
                parsed = parsed.set(drivername="postgresql+psycopg")
        engine = sql.create_engine(parsed, **options)
    except exc.ArgumentError:
        # The text of the error would show the password.
        raise StartError(
            "--url is not a database URL, such as sqlite:////data/records.db or postgresql://user:password@host/name"
        ) from None
    except (ImportError, exc.NoSuchModuleError) as error:
        raise StartError(f"the driver for {parsed.drivername} is not installed: {error}") from error
    if dialect == "sqlite":
        sql.event.listen(engine, "connect", _durable)
    return engine


def _durable(connection: Any, _: object) -> None:
    """Make SQLite flush a transaction to disk at each commit, whatever the default of its build is."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _upsert(table: sql.Table, dialect: str) -> Any:
    insert: Any = (postgresql.insert if dialect == "postgresql" else sqlite.insert)(table)
    content = [column.name for column in table.columns if column.name not in _KEYS]
    # A row with the same content is not written again.
    differs = [table.c[name].is_distinct_from(insert.excluded[name]) for name in content]
    return insert.on_conflict_do_update(
        index_elements=list(_KEYS),
        set_={name: insert.excluded[name] for name in content},
        where=sql.or_(*differs),
    )


def _table(name: str) -> sql.Table:
    return sql.Table(
        name,
        sql.MetaData(),
        sql.Column("source_id", sql.Text, primary_key=True),
        sql.Column("record_key", sql.Text, primary_key=True),
        sql.Column("partition", sql.BigInteger, nullable=False),
        sql.Column("sequence_number", sql.BigInteger, nullable=False),
        sql.Column("record_type", sql.Text, nullable=False),
        sql.Column("key", sql.LargeBinary, nullable=False),
        sql.Column("payload", _JSON),
        sql.Column("payload_bytes", sql.LargeBinary),
        sql.Column("metadata", _JSON, nullable=False),
        sql.Column("event_time", sql.DateTime(timezone=True)),
    )


def values_of(record: Record) -> dict[str, Any]:
    """The row of a record.

    :raises ValueError: the record cannot be stored.
    """
    if record.id.sequence_number > _LARGEST:
        raise ValueError(f"sequence number {record.id.sequence_number} is greater than {_LARGEST}")
    if len(record.id.source_id) > _LONGEST_KEY:
        raise ValueError(f"the source id is longer than {_LONGEST_KEY} characters")
    payload = _json(record.payload)
    event_time = None
    if record.HasField("event_time"):
        event_time = record.event_time.ToDatetime(tzinfo=UTC)
    return {
        "source_id": record.id.source_id,
        "record_key": key_of(record),
        "partition": record.id.partition,
        "sequence_number": record.id.sequence_number,
        "record_type": record.record_type,
        "key": record.key,
        "payload": None if payload is _NO_JSON else payload,
        "payload_bytes": record.payload if payload is _NO_JSON else None,
        "metadata": dict(record.metadata),
        "event_time": event_time,
    }


def _json(payload: bytes) -> Any:
    try:
        return msgspec.json.decode(payload)
    except (ValueError, RecursionError):
        return _NO_JSON


def key_of(record: Record) -> str:
    """The second part of a record's primary key; see :class:`SqlSink`."""
    key = record.id.idempotency_key
    own = f"s:{record.id.partition}-{record.id.sequence_number}" if record.id.sequence_number else ""
    # The outputs of a split record have the key of the input, which may be empty, and their number.
    if own and (not key or key.startswith(b"#")):
        return _short(own + (key.decode() if _PARTS.fullmatch(key) else f"#x:{key.hex()}"))
    if not key:
        return f"u:{uuid.uuid4()}"
    try:
        text = key.decode()
    except UnicodeDecodeError:
        text = "\0"
    # Text columns hold no NUL.
    return _short(f"x:{key.hex()}" if "\0" in text else f"k:{text}")


def _short(key: str) -> str:
    return key if len(key) <= _LONGEST_KEY else f"h:{hashlib.sha256(key.encode()).hexdigest()}"


def _reason(error: Exception) -> str:
    """The error of the driver on one line, without the statement and its values."""
    cause = getattr(error, "orig", None) or error
    return " ".join(str(cause).split()) or type(cause).__name__
