"""The command ``etl-service``: sources, transforms and sinks that need no programming.

Exit codes: 0 after SIGTERM or SIGINT, or when a source has no more records; 1 if the service cannot start or
continue; 2 if the command line is not valid.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from etl_operator import __version__
from etl_operator.services.options import SERVICE, SOURCE, with_options
from etl_operator.services.running import ENVIRONMENT, pushing, start
from etl_operator.services.sink_file import FileSink
from etl_operator.services.source_file import FileSource
from etl_operator.services.source_generate import GenerateSource
from etl_operator.services.transforms import FilterTransform, MapTransform

_FILE = click.Path(path_type=Path, dir_okay=False)
_SETTINGS = {
    "help_option_names": ["-h", "--help"],
    "auto_envvar_prefix": ENVIRONMENT,
    "max_content_width": 100,
}


@click.group(context_settings=_SETTINGS)
@click.version_option(__version__, message="etl-service %(version)s")
def main() -> None:
    """Services of a pipeline: sources, transforms and sinks."""


@main.group()
def source() -> None:
    """Send records to a router."""


@main.group()
def transform() -> None:
    """Change or filter records."""


@main.group()
def sink() -> None:
    """Store records."""


@source.command("generate")
@click.option("--count", type=click.IntRange(min=1), help="Number of records. Default: no limit.")
@click.option(
    "--rate",
    type=click.FloatRange(min=0),
    default=0,
    show_default=True,
    help="Records per second. 0 means no limit.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the generated records.")
@click.option(
    "--size",
    type=click.IntRange(0, 1_000_000),
    default=200,
    show_default=True,
    help="Size of a payload in bytes.",
)
@with_options(SOURCE, SERVICE)
def generate(count: int | None, rate: float, seed: int, size: int, **flags: Any) -> None:
    """Generate user events as JSON. The same seed generates the same records, also after a restart."""
    start(flags, lambda: GenerateSource(pushing(flags), count=count, rate=rate, seed=seed, size=size))


@source.command("file")
@click.argument("path", type=_FILE)
@click.option("--follow", is_flag=True, help="Wait for more lines, and for the file if it does not exist.")
@click.option(
    "--poll-seconds",
    type=click.FloatRange(0.01),
    default=0.5,
    show_default=True,
    help="Interval of checks for new lines.",
)
@click.option("--record-type", default="line", show_default=True, help="Record type of all records.")
@with_options(SOURCE, SERVICE)
def read_file(path: Path, follow: bool, poll_seconds: float, record_type: str, **flags: Any) -> None:
    """Send each line of a file as a record, starting after the last offset that the router has stored."""
    start(
        flags,
        lambda: FileSource(pushing(flags), path, follow=follow, poll=poll_seconds, record_type=record_type),
    )


@transform.command("filter")
@click.option("--where", metavar="CEL", required=True, help="Records are passed on if this is true.")
@with_options(SERVICE)
def filter_records(where: str, **flags: Any) -> None:
    """Pass on the records for which an expression is true.

    The variables are `record` (etl.common.Record) and `payload` (the payload decoded as JSON), as in
    --where 'payload.active && record.record_type == "user"'.
    """
    start(flags, lambda: FilterTransform(where))


@transform.command("map")
@click.option(
    "--set", "assignments", metavar="FIELD=CEL", multiple=True, required=True, help="Can be repeated."
)
@with_options(SERVICE)
def map_records(assignments: tuple[str, ...], **flags: Any) -> None:
    """Set fields of records to the values of expressions.

    FIELD is payload, payload.NAME (NAME can be a path: a.b), metadata.NAME, record_type or key. All
    expressions read the original record: `record`, and `payload`, its payload decoded as JSON.
    """
    start(flags, lambda: MapTransform(assignments))


@sink.command("file")
@click.argument("path", type=_FILE)
@with_options(SERVICE)
def write_file(path: Path, **flags: Any) -> None:
    """Append records to a JSON Lines file. A batch is flushed to disk before it is acknowledged."""
    start(flags, lambda: FileSink(path))


@sink.command("sql")
@click.option(
    "--url",
    default="sqlite:///records.db",
    show_default=True,
    help="Database URL of SQLAlchemy: sqlite:////data/records.db, postgresql://user:password@host/name.",
)
@click.option(
    "--table",
    default="records",
    show_default=True,
    help="Name of the table. It is created if it does not exist.",
)
@with_options(SERVICE)
def write_sql(url: str, table: str, **flags: Any) -> None:
    """Upsert records into a table, by idempotency key: a repeated batch changes nothing."""
    # Imported here: it takes longer to import than everything else together, and is an optional dependency.
    try:
        from etl_operator.services.sink_sql import SqlSink
    except ImportError as error:
        raise click.ClickException(
            f"sink sql needs SQLAlchemy ({error}); run pip install '.[sql]' in a clone of etl-operator"
        ) from error
    start(flags, lambda: SqlSink(url, table))


if __name__ == "__main__":
    main()
