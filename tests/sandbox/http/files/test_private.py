"""Files that only their owner reads: keys, certificates, kubeconfigs."""

from __future__ import annotations

import ssl
from pathlib import Path

from etl_operator.sandbox.http.files.private import read_or_create, write_private
from etl_operator.sandbox.http.files.tls import authority


def test_the_authority_is_kept_and_private(tmp_path: Path) -> None:
    made = authority(tmp_path)
    assert authority(tmp_path).pem == made.pem
    assert authority(None).pem != made.pem
    assert (tmp_path / "ca.key").stat().st_mode & 0o077 == 0
    assert isinstance(made.server_context(), ssl.SSLContext)


def test_private_files_are_whole_and_private(tmp_path: Path) -> None:
    file = tmp_path / "sub" / "secret"
    assert read_or_create(file, b"one") == b"one"
    assert read_or_create(file, b"two") == b"one"
    write_private(file, b"three")
    assert file.read_bytes() == b"three"
    assert file.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in file.parent.iterdir()] == ["secret"]
