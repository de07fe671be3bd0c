"""Certificates that are replaced while they are in use."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from etl_operator.tls.files import Reloading, TlsError, TlsFiles, context_of
from tests.certificates import Authority, Issued

AUTHORITY = Authority()


def files_of(directory: Path) -> TlsFiles:
    return TlsFiles(*(directory / name for name in ("tls.crt", "tls.key", "ca.crt")))


def reloading(directory: Path) -> Reloading[bytes]:
    files = files_of(directory)

    def made(content: object) -> bytes:
        context_of(files, server=True)
        return files.certificate.read_bytes()

    return Reloading(files.paths, made)


def test_what_is_current_follows_the_files(tmp_path: Path) -> None:
    first, second = AUTHORITY.issue("a"), Authority("other").issue("a")
    first.write(tmp_path)
    held = reloading(tmp_path)
    assert held.current() == first.certificate
    second.write(tmp_path)
    assert held.current() == second.certificate


def test_half_a_rotation_changes_nothing_and_is_reported_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = AUTHORITY.issue("a"), AUTHORITY.issue("a")
    first.write(tmp_path)
    held = reloading(tmp_path)
    Issued(second.certificate, first.key, first.authority).write(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert [held.current(), held.current()] == [first.certificate] * 2
    assert [record.getMessage() for record in caplog.records] == [
        "the certificates from before stay in use: "
        f"{tmp_path}/tls.crt and {tmp_path}/tls.key cannot be used as certificate and key: "
        "key values mismatch"
    ]
    (tmp_path / "tls.key").unlink()
    assert held.current() == first.certificate
    second.write(tmp_path)
    assert held.current() == second.certificate


@pytest.mark.parametrize("missing", ["tls.crt", "tls.key", "ca.crt"])
def test_a_file_that_is_not_there_is_named(tmp_path: Path, missing: str) -> None:
    AUTHORITY.issue("a").write(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(TlsError, match=f"{missing}: No such file"):
        context_of(files_of(tmp_path), server=True)
    with pytest.raises(TlsError, match=f"{missing}: No such file"):
        reloading(tmp_path)
