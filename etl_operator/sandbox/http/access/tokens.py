"""Bearer tokens: one random administrator token, and signed tokens of service accounts.

A service account's token is a JSON Web Token signed with a key of this server (HS256), so nothing
has to be remembered per token, and with a state directory tokens outlive a restart. It names the
account's uid: deleting the account ends its tokens, also when the name comes back.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from etl_operator.sandbox.http.access.identity import ADMIN, Identity, service_account
from etl_operator.sandbox.http.files.private import read_or_create

ISSUER = "https://kubernetes.default.svc.cluster.local"
DEFAULT_AUDIENCES = (ISSUER,)

_HEADER = {"alg": "HS256", "typ": "JWT"}

AccountUid = Callable[[str, str], str | None]
"""The uid of the service account ``(namespace, name)``, or ``None`` when there is none."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A new token and when it ends, in seconds since the epoch."""

    token: str
    expires_at: float


class Tokens:
    """Makes and recognises tokens.

    :param directory: where the administrator's token and the signing key are kept, or ``None``.
    :param account_uid: looks a service account up; asked at every use of its token.
    :param now: seconds since the epoch.
    """

    def __init__(self, directory: Path | None, account_uid: AccountUid, now: Callable[[], float]) -> None:
        def stored(name: str) -> Path | None:
            return directory / name if directory else None

        self.admin = read_or_create(stored("admin.token"), secrets.token_urlsafe(32).encode()).decode()
        self._key = read_or_create(stored("token.key"), secrets.token_bytes(32))
        self._account_uid = account_uid
        self._now = now

    def issue(
        self,
        namespace: str,
        name: str,
        uid: str,
        *,
        seconds: float,
        audiences: Sequence[str] = DEFAULT_AUDIENCES,
    ) -> Issued:
        """A token of the service account, valid for ``seconds``."""
        now = int(self._now())
        claims = {
            "iss": ISSUER,
            "sub": f"system:serviceaccount:{namespace}:{name}",
            "aud": list(audiences),
            "iat": now,
            "nbf": now,
            "exp": now + int(seconds),
            "jti": secrets.token_hex(8),
            "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": name, "uid": uid}},
        }
        signed = f"{_encode(_HEADER)}.{_encode(claims)}"
        return Issued(f"{signed}.{self._signature(signed)}", float(now + int(seconds)))

    def identify(self, token: str, audiences: Sequence[str] = DEFAULT_AUDIENCES) -> Identity | None:
        """Whose token this is; ``None`` for a token that is unknown, expired or for other audiences."""
        # A header may carry any bytes; what is not UTF-8 is simply a wrong token.
        if hmac.compare_digest(token.encode(errors="surrogateescape"), self.admin.encode()):
            return ADMIN
        claims = self._verified(token)
        if claims is None or not set(audiences) & set(claims.get("aud", ())):
            return None
        try:
            bound = claims["kubernetes.io"]
            namespace, account = bound["namespace"], bound["serviceaccount"]
            name, uid = account["name"], account["uid"]
        except (KeyError, TypeError):
            return None
        if self._account_uid(namespace, name) != uid:
            return None
        return service_account(namespace, name, uid)

    def _verified(self, token: str) -> dict[str, Any] | None:
        signed, _, signature = token.rpartition(".")
        if not signed.isascii() or not signature.isascii():
            return None
        if not hmac.compare_digest(signature, self._signature(signed)):
            return None
        try:
            claims = json.loads(_decode(signed.split(".")[1]))
        except (ValueError, IndexError, binascii.Error):
            return None
        if not isinstance(claims, dict) or not claims.get("nbf", 0) <= self._now() < claims.get("exp", 0):
            return None
        return claims

    def _signature(self, signed: str) -> str:
        digest = hmac.new(self._key, signed.encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _encode(value: object) -> str:
    raw = json.dumps(value, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
