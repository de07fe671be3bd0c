"""TLS of the HTTP transport: whom it trusts, and with which certificate it is trusted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from informers.client import ClusterAccess, HttpTransport
from informers.client.auth import Credential, StaticCredentials
from informers.client.tls import TlsSettings
from informers.errors import TransportError
from tests.informers.client.sending import GET, echo, transport_to
from tests.informers.client.serving import Authority, serving
from tests.informers.client.test_http_breakage import SteppedClock


class TestTls:
    async def test_a_scheme_in_capitals_is_the_same_scheme(self, tmp_path: Path) -> None:
        """Else the token would go over the wire for everybody to read."""
        authority = Authority()
        async with serving(echo, authority.server_context(tmp_path)) as url:
            shouted = ClusterAccess(url.replace("https", "HTTPS"), tls=TlsSettings(ca_data=authority.pem))
            async with transport_to(shouted) as transport:
                assert (await transport.request(GET)).status == 200

    @pytest.mark.parametrize("note", ["# Autorität\n".encode(), b"\xef\xbb\xbf", b"# latin \xe9\n"])
    async def test_an_authority_may_be_commented_in_any_language(self, tmp_path: Path, note: bytes) -> None:
        authority = Authority()
        async with serving(echo, authority.server_context(tmp_path)) as url:
            tls = TlsSettings(ca_data=note + authority.pem)
            async with transport_to(ClusterAccess(url, tls=tls)) as transport:
                assert (await transport.request(GET)).status == 200

    async def test_no_place_for_a_client_certificate_is_no_answer(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
        authority = Authority()
        pair = authority.issue("me")
        tls = TlsSettings(ca_data=authority.pem, cert_data=pair.certificate, key_data=pair.key)
        async with transport_to(ClusterAccess("https://127.0.0.1:1", tls=tls)) as transport:
            with pytest.raises(TransportError, match="cannot write a temporary file"):
                await transport.request(GET)

    async def test_the_cluster_s_authority_is_trusted_and_no_other(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        authority = Authority()
        async with serving(echo, authority.server_context(tmp_path)) as url:
            access = ClusterAccess(url, tls=TlsSettings(ca_data=authority.pem))
            async with transport_to(access) as transport:
                assert (await transport.request(GET)).status == 200
            for tls in (TlsSettings(), TlsSettings(ca_data=Authority().pem)):
                async with transport_to(ClusterAccess(url, tls=tls)) as transport:
                    with pytest.raises(TransportError, match=r"(?i)certificate"):
                        await transport.request(GET)
            assert "not verified" not in caplog.text
            async with transport_to(ClusterAccess(url, tls=TlsSettings(insecure=True))) as transport:
                assert (await transport.request(GET)).status == 200
            assert "the API server's certificate is not verified" in caplog.text

    async def test_the_name_is_checked_against_the_one_configured(self, tmp_path: Path) -> None:
        authority = Authority()
        context = authority.server_context(tmp_path, dns="api.internal")
        async with serving(echo, context) as url:
            right = TlsSettings(ca_data=authority.pem, server_name="api.internal")
            async with transport_to(ClusterAccess(url, tls=right)) as transport:
                assert (await transport.request(GET)).status == 200
            async with transport_to(ClusterAccess(url, tls=TlsSettings(ca_data=authority.pem))) as transport:
                with pytest.raises(TransportError):
                    await transport.request(GET)

    async def test_a_client_certificate_from_data_from_files_and_from_a_plugin(self, tmp_path: Path) -> None:
        authority = Authority()
        pair = authority.issue("me")
        certificate, key = pair.write(tmp_path, "me")
        trust = TlsSettings(ca_data=authority.pem)
        plugin = StaticCredentials(Credential(None, pair.certificate, pair.key))
        async with serving(echo, authority.server_context(tmp_path, clients=True)) as url:
            for access in (
                ClusterAccess(url, tls=replace(trust, cert_data=pair.certificate, key_data=pair.key)),
                ClusterAccess(url, tls=replace(trust, cert_file=certificate, key_file=key)),
                ClusterAccess(url, tls=trust, credentials=plugin),
            ):
                async with transport_to(access) as transport:
                    assert (await transport.request(GET)).status == 200
                assert "PRIVATE KEY" not in repr(access)
            async with transport_to(ClusterAccess(url, tls=trust)) as transport:
                with pytest.raises(TransportError):
                    await transport.request(GET)

    async def test_a_rotated_authority_is_taken_up(self, tmp_path: Path) -> None:
        clock = SteppedClock()
        old, new = Authority("old"), Authority("new")
        file = tmp_path / "ca.crt"
        file.write_bytes(old.pem)
        async with (
            serving(echo, old.server_context(tmp_path / "old")) as before,
            serving(echo, new.server_context(tmp_path / "new")) as after,
        ):
            access = ClusterAccess(before, tls=TlsSettings(ca_file=file))
            transport = HttpTransport(access, clock=clock)
            assert (await transport.request(GET)).status == 200
            # The server moves on to a certificate of the new authority, at the same address.
            transport._access = replace(access, server=after)
            with pytest.raises(TransportError):
                await transport.request(GET)
            file.write_bytes(new.pem)
            clock.now += 11
            assert (await transport.request(GET)).status == 200
            await transport.close()

    @pytest.mark.parametrize("content", [b"", b"no certificate", b"\xff\xfe"])
    async def test_an_unusable_authority_is_named(self, tmp_path: Path, content: bytes) -> None:
        file = tmp_path / "ca.crt"
        file.write_bytes(content)
        access = ClusterAccess("https://127.0.0.1:1", tls=TlsSettings(ca_file=file))
        async with transport_to(access) as transport:
            with pytest.raises(TransportError, match=r"ca\.crt"):
                await transport.request(GET)

    async def test_a_key_that_does_not_match_says_so_without_showing_it(self) -> None:
        authority = Authority()
        tls = TlsSettings(
            ca_data=authority.pem,
            cert_data=authority.issue("a").certificate,
            key_data=authority.issue("b").key,
        )
        async with transport_to(ClusterAccess("https://127.0.0.1:1", tls=tls)) as transport:
            with pytest.raises(TransportError, match="do not match") as caught:
                await transport.request(GET)
        assert "PRIVATE" not in str(caught.value)
