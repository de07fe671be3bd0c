"""From a router to a store, and back."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from etl_operator.cli.backup.manifest import (
    CHECKSUM,
    MANIFEST,
    BackupError,
    File,
    Manifest,
    decode,
    digest,
    directory_of,
    encode,
    parts,
    prefix_of,
)
from etl_operator.cli.backup.router import OWN, Router
from etl_operator.cli.backup.store import Store
from etl_operator.tls.credentials import ChannelTls

_LEFT_OVER_SECONDS = 24 * 3600
_NAMED = 5
"""Backups that a message names."""


@dataclass(frozen=True, slots=True)
class Target:
    """A cluster, and the member to call.

    :param cluster: ``namespace/name``.
    :param address: ``host:port``.
    :param timeout: seconds for each call.
    :param tls: of the connection, or None.
    """

    cluster: str
    address: str
    timeout: float
    tls: ChannelTls | None = None

    def router(self) -> Router:
        """The member, for ``async with``."""
        return Router(self.address, self.timeout, self.tls)


async def save(target: Target, url: str, say: Callable[[str], None]) -> str:
    """Back a cluster up into a new directory below ``url``; its URL.

    :raises BackupError: nothing usable was written.
    """
    moment = datetime.now(UTC)
    store = Store(url, make=True).below(directory_of(target.cluster, moment), make=True)
    if await store.get(CHECKSUM) is not None:
        raise BackupError(f"{store.url} has a backup of the same second; run the command again")
    async with target.router() as router:
        await _remove_left_over(router)
        made = await router.create()
        try:
            files = []
            async for name, data in parts(router.stream(made.snapshot_id)):
                await store.put(name, data)
                files.append(File(name, len(data), digest(data)))
        finally:
            # It is removed a day later otherwise, and the first error says more.
            with contextlib.suppress(BackupError):
                await router.delete(made.snapshot_id)
    manifest = Manifest(
        cluster=target.cluster,
        created=moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
        commit_index=made.commit_index,
        term=made.term,
        state_size=made.size_bytes,
        files=files,
    )
    data, checksum = encode(manifest)
    await store.put(MANIFEST, data)
    await store.put(CHECKSUM, checksum)
    say(f"{len(files)} files, {manifest.size} bytes, as of log entry {manifest.commit_index}")
    return store.url


async def restore(
    target: Target, url: str, say: Callable[[str], None], *, overwrite: bool, dry_run: bool
) -> None:
    """Restore the backup in ``url``. Everything is checked before anything changes.

    :raises BackupError: it was not restored.
    """
    store = Store(url)
    manifest = await _manifest(store, target.cluster)
    say(f"backup of {manifest.cluster}, {manifest.created}, as of log entry {manifest.commit_index}")
    async with target.router() as router:
        backup_id = await router.upload(_verified(store, manifest))
        try:
            say(await router.restore(backup_id, overwrite=overwrite, validate_only=True))
            if not dry_run:
                say(await router.restore(backup_id, overwrite=overwrite, validate_only=False))
        finally:
            with contextlib.suppress(BackupError):
                await router.delete(backup_id)


async def _manifest(store: Store, cluster: str) -> Manifest:
    data, checksum = await store.get(MANIFEST), await store.get(CHECKSUM)
    if data is not None and checksum is not None:
        return decode(data, checksum)
    if data is not None:
        raise BackupError(f"the backup in {store.url} is incomplete: there is no {CHECKSUM}")
    found = [name for name in await store.directories() if name.startswith(prefix_of(cluster))]
    text = f"there is no backup in {store.url}: it has no {MANIFEST}"
    if found:
        names = ", ".join(reversed(found[-_NAMED:]))
        text += f". Name one of the {len(found)} backups in it, newest first: {names}"
    raise BackupError(text)


async def _verified(store: Store, manifest: Manifest) -> AsyncIterator[bytes]:
    """The content of the files; of each one only after its checksum was compared."""
    for file in manifest.files:
        data = await store.get(file.name)
        if data is None:
            raise BackupError(f"the backup in {store.url} is incomplete: there is no {file.name}")
        file.check(data)
        yield data


async def _remove_left_over(router: Router) -> None:
    """What an earlier run left on the member because it was killed."""
    try:
        kept = await router.kept()
    except BackupError:
        # The next call says what is wrong.
        return
    for backup_id, created in kept.items():
        if backup_id.startswith(OWN) and created < time.time() - _LEFT_OVER_SECONDS:
            await router.delete(backup_id)
