"""The command ``etl-service``: sources, transforms and sinks that need no programming.

Exit codes: 0 after SIGTERM or SIGINT, or when a source is done; 1 if the service cannot start or go on, 2 for
a wrong command line.
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
    """Push records to a router."""


@main.group()
def transform() -> None:
    """Change or filter records."""


@main.group()
def sink() -> None:
    """Store records."""


@source.command("generate")
@click.option("--count", type=click.IntRange(min=1), help="Records in all. Default: without end.")
@click.option(
    "--rate",
    type=click.FloatRange(min=0),
    default=0,
    show_default=True,
    help="Records a second; 0: no limit.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Other seeds make other records.")
@click.option(
    "--size", type=click.IntRange(0, 1_000_000), default=200, show_default=True, help="Bytes of a payload."
)
@with_options(SOURCE, SERVICE)
def generate(count: int | None, rate: float, seed: int, size: int, **flags: Any) -> None:
    """Made-up events of users, as JSON. The same seed makes the same records, also after a restart."""
    start(flags, lambda: GenerateSource(pushing(flags), count=count, rate=rate, seed=seed, size=size))


@source.command("file")
@click.argument("path", type=_FILE)
@click.option("--follow", is_flag=True, help="Wait for more lines, and for a file that is not there.")
@click.option(
    "--poll-seconds", type=click.FloatRange(0.01), default=0.5, show_default=True, help="Between looks."
)
@click.option("--record-type", default="line", show_default=True, help="Type of the records.")
@with_options(SOURCE, SERVICE)
def read_file(path: Path, follow: bool, poll_seconds: float, record_type: str, **flags: Any) -> None:
    """The lines of a JSON Lines file, from where the router says that the source was."""
    start(
        flags,
        lambda: FileSource(pushing(flags), path, follow=follow, poll=poll_seconds, record_type=record_type),
    )


@transform.command("filter")
@click.option("--where", metavar="CEL", required=True, help="Records for which this is true go on.")
@with_options(SERVICE)
def filter_records(where: str, **flags: Any) -> None:
    """Let records pass for which an expression is true.

    CEL sees `record` (etl.common.Record) and `payload` (the payload read as JSON), as in
    --where 'payload.active && record.record_type == "user"'.
    """
    start(flags, lambda: FilterTransform(where))


@transform.command("map")
@click.option("--set", "assignments", metavar="FIELD=CEL", multiple=True, required=True, help="Repeatable.")
@with_options(SERVICE)
def map_records(assignments: tuple[str, ...], **flags: Any) -> None:
    """Set fields of records to what expressions give.

    FIELD is payload, payload.NAME (with more names for fields inside), metadata.NAME, record_type or key. CEL
    sees the record as it came: `record`, and `payload`, its payload read as JSON.
    """
    start(flags, lambda: MapTransform(assignments))


@sink.command("file")
@click.argument("path", type=_FILE)
@with_options(SERVICE)
def write_file(path: Path, **flags: Any) -> None:
    """Append records to a JSON Lines file. A batch is on disk before it is acknowledged."""
    start(flags, lambda: FileSink(path))


@sink.command("sql")
@click.option(
    "--url",
    default="sqlite:///records.db",
    show_default=True,
    help="As SQLAlchemy reads it: sqlite:////data/records.db, postgresql://user:password@host/name.",
)
@click.option("--table", default="records", show_default=True, help="Created if it is not there.")
@with_options(SERVICE)
def write_sql(url: str, table: str, **flags: Any) -> None:
    """Upsert records into a table, by idempotency key: a repeated batch changes nothing."""
    # Imported here: it takes longer than everything else together, and is an extra.
    try:
        from etl_operator.services.sink_sql import SqlSink
    except ImportError as error:
        raise click.ClickException(
            f"sink sql needs SQLAlchemy ({error}); run pip install '.[sql]' in a clone of etl-operator"
        ) from error
    start(flags, lambda: SqlSink(url, table))


if __name__ == "__main__":
    main()
