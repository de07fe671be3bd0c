"""Certificates of our own servers, read again when their files change."""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path

from informers.errors import ConfigError

log = logging.getLogger(__name__)

PERIOD = 10.0
"""Seconds between two looks at the files."""


class ServingCertificate:
    """A certificate and its key in PEM files, as a ``kubernetes.io/tls`` Secret is mounted.

    Connections that exist continue with the certificate they began with; new ones get what is in the files. A
    pair that cannot be used, such as one half of a rotation, is reported, and the last good one stays.

    :param certificate: with its chain, the server's own first.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = certificate, key
        self._loaded: tuple[bytes, bytes] | None = None
        self._current = self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        """For the server; always the same object."""
        self.context.sni_callback = self._choose

    def load(self) -> bool:
        """Take up what is in the files; whether that was something new.

        :raises ConfigError: naming the files, when they cannot be used.
        """
        certificate, key = self._files
        try:
            found = certificate.read_bytes(), key.read_bytes()
        except OSError as error:
            raise ConfigError(f"{error.filename}: cannot read: {error.strerror or error}") from None
        if found == self._loaded:
            return False
        # A new one each time: half a rotation must not break what works, and a context that has been given
        # another kind of key continues offering the old one as well.
        fresh = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            fresh.load_cert_chain(certificate, key, password=b"")
        except (ssl.SSLError, ValueError, OSError):
            raise ConfigError(
                f"{certificate} and {key} cannot be used as certificate and key, or do not match"
            ) from None
        self._loaded, self._current = found, fresh
        return True

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """A connection begins; called whether or not its client has named a server."""
        connection.context = self._current

    async def follow(self) -> None:
        """Look at the files every ten seconds, until cancelled."""
        trouble = ""
        while True:
            await asyncio.sleep(PERIOD)
            try:
                if self.load():
                    log.info("loaded a new serving certificate", extra={"file": self._files[0]})
                trouble = ""
            except ConfigError as error:
                if str(error) != trouble:
                    log.warning("the old serving certificate stays in use: %s", error)
                trouble = str(error)
