"""Where backups are: a directory, or a bucket of an object store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etl_operator.cli.backup.manifest import PART_BYTES, BackupError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_RETRIES: Any = {"max_retries": 5, "retry_timeout": timedelta(seconds=60)}


class Store:
    """A directory of files, by URL.

    :param url: ``s3://bucket/path``, ``gs://…``, ``az://…``, ``file:///path``, or a path. Credentials and
        endpoints come from the environment, such as ``AWS_ACCESS_KEY_ID`` and ``AWS_ENDPOINT_URL``.
    :param make: create the directory if it does not exist.
    :raises BackupError: the URL cannot be used.
    """

    def __init__(self, url: str, *, make: bool = False) -> None:
        from obstore.store import from_url

        self.url = (url if "://" in url else Path(url).absolute().as_uri()).rstrip("/")
        local = self.url.startswith("file:")
        with self._explained("open"):
            if local:
                self._store: ObjectStore = from_url(self.url, mkdir=make)
            else:
                self._store = from_url(self.url, retry_config=_RETRIES)

    def below(self, name: str, *, make: bool = False) -> Store:
        """A directory in this one."""
        return Store(f"{self.url}/{name}", make=make)

    async def put(self, name: str, data: bytes) -> None:
        """Write a file.

        :raises BackupError: it cannot be written.
        """
        import obstore

        with self._explained(f"write {name}"):
            await obstore.put_async(self._store, name, data)

    async def get(self, name: str) -> bytes | None:
        """A file; None if there is none.

        :raises BackupError: it cannot be read, or is larger than any file of a backup.
        """
        import obstore

        with self._explained(f"read {name}"):
            try:
                found = await obstore.get_async(self._store, name)
                size = found.meta["size"]
                # All of it would be in memory before its checksum could be compared.
                if size > PART_BYTES:
                    raise BackupError(
                        f"{name} in {self.url} has {size} bytes; the maximum is {PART_BYTES}: it is damaged"
                    )
                return bytes(await found.bytes_async())
            except FileNotFoundError:
                return None

    async def directories(self) -> list[str]:
        """Names of the directories in this one, sorted.

        :raises BackupError: they cannot be listed.
        """
        import obstore

        with self._explained("list"):
            listed = await obstore.list_with_delimiter_async(self._store)
        return sorted(str(prefix).rstrip("/") for prefix in listed["common_prefixes"])

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, OSError, ValueError) as error:
            text = str(error).partition("\n\nDebug source")[0]
            raise BackupError(f"cannot {what} in {self.url}: {text}") from error
