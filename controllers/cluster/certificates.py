"""The certificates that ``spec.tls`` names: read from their Secrets by name, and checked before members rely
on them.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from controllers.cluster.encryption import Encryption, encryption_of, wanted_encryption
from controllers.members import naming
from controllers.objects.kinds import SECRET
from controllers.wiring.context import Context
from etl_operator.api import EtlRouterCluster
from etl_operator.tls.credentials import ChannelTls
from etl_operator.tls.files import TlsError
from etl_operator.tls.inspection import Inspection, inspect
from etl_operator.tls.names import is_for
from informers.clock import timestamp
from informers.errors import ApiError, Forbidden, NotFound, TransportError
from informers.objects import Object, ObjectKey

READ_EVERY = 60.0
"""Seconds between two readings of Secrets that are in order. Others are read with every look at the cluster,
as they are, after :data:`DOUBT`, when a member does not answer: they may have been replaced."""
DOUBT = 5.0
_SOON = 0.2
"""Part of its life that a certificate has left when its end is announced. cert-manager renews at a third."""
_PAIR = ("tls.crt", "tls.key")
_AUTHORITY = "ca.crt"
_ROLE = "etl-router-tls"
_USER = re.compile(r'User "([^"]+)"')
_ACCOUNT = "system:serviceaccount:"


@dataclass(frozen=True, slots=True)
class Known:
    """One certificate, as far as people are told of it. Times are Unix times."""

    secret: str
    key: str
    not_before: float
    not_after: float

    def expires_soon(self, now: float) -> bool:
        """Whether it should have been renewed by now."""
        return self.not_after - now < _SOON * (self.not_after - self.not_before)


@dataclass(frozen=True, slots=True)
class Certificates:
    """What is known of the certificates of a cluster."""

    tls: ChannelTls | None = None
    """How the operator calls members that have TLS; the last that could be read."""
    known: tuple[Known, ...] = ()
    problem: str = ""
    """Why members cannot use them, or ""."""
    missing: bool = False
    """The problem is that something is not there, or not yet."""
    unread: str = ""
    """Why the operator has no certificates for calls, also while TLS is being removed; "" if it has."""


@dataclass(slots=True)
class Reading:
    """What one operator process remembers of the Secrets of one cluster."""

    about: tuple[object, ...] = ()
    """What was read, and for which names."""
    found: Certificates = field(default_factory=Certificates)
    inspected: Inspection | None = None
    read_at: float = -math.inf
    versions: tuple[str, ...] = ()
    told: set[Known] = field(default_factory=set)
    """Certificates whose end has been announced."""
    doubtful: bool = False

    def doubt(self) -> None:
        """Read again soon."""
        self.doubtful = True

    def is_fresh(self, about: tuple[object, ...], now: float) -> bool:
        """Whether there is no need to read again.

        :param now: on the monotonic clock.
        """
        if self.about != about or (self.found.problem and self.found.tls is None):
            return False
        return now - self.read_at < (DOUBT if self.doubtful or self.found.problem else READ_EVERY)


class _Problem(Exception):
    """Why the certificates cannot be used."""

    def __init__(self, text: str, *, missing: bool = False) -> None:
        super().__init__(text)
        self.missing = missing


class CertificateReader:
    """Reads and checks the certificates of clusters."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def of(
        self,
        key: ObjectKey,
        cluster: EtlRouterCluster,
        live: Object | None,
        members: int | None,
        memory: Reading,
    ) -> Certificates:
        """What is known of the certificates of a cluster: those of its spec, or, while it loses TLS, those
        of its members.
        """
        wanted = wanted_encryption(cluster)
        leaving = wanted.mode == naming.PLAIN
        if leaving and live is not None:
            wanted = encryption_of(live)
        if wanted.mode == naming.PLAIN:
            memory.found = Certificates()
            memory.about = ()
            return memory.found
        names = self._names(key, max(cluster.spec.replicas, members or 0))
        about = (wanted.secret, wanted.ca_secret, *names)
        if not memory.is_fresh(about, self._context.clock.monotonic()):
            memory.found = await self._read(key, wanted, names, memory)
            memory.about = about
            memory.read_at, memory.doubtful = self._context.clock.monotonic(), False
        if leaving:
            # Nobody asks for them any more: what is wrong with them must not hold up their end.
            return replace(memory.found, known=(), problem="")
        judged = self._judged(memory.found)
        if judged.problem:
            memory.doubt()
        return judged

    def _names(self, key: ObjectKey, members: int) -> list[str]:
        """DNS names that a certificate has to be valid for."""
        domain = self._context.settings.cluster_domain
        pods = [naming.host(key, ordinal, domain) for ordinal in range(members)]
        return [*pods, f"{key.name}.{key.namespace}.svc.{domain}"]

    async def _read(
        self, key: ObjectKey, wanted: Encryption, names: Sequence[str], memory: Reading
    ) -> Certificates:
        before = memory.found.tls
        try:
            return await self._checked(key, wanted, names)
        except _Problem as problem:
            unread = "" if before else str(problem)
            return Certificates(before, problem=str(problem), missing=problem.missing, unread=unread)
        except TransportError:
            if before is None:
                raise
            return memory.found

    async def _checked(self, key: ObjectKey, wanted: Encryption, names: Sequence[str]) -> Certificates:
        if not wanted.secret:
            raise _Problem("spec.tls.secretName is not set: it names the Secret with tls.crt and tls.key")
        secrets = list(dict.fromkeys((wanted.secret, wanted.ca_secret or wanted.secret)))
        content = {name: await self._secret(key, name, secrets) for name in secrets}
        certificate, private = (_value(wanted.secret, content[wanted.secret], part) for part in _PAIR)
        authority = _authority(wanted, content)
        try:
            found = inspect(certificate, private, authority)
        except TlsError as error:
            raise _Problem(f"{_called(secrets)}: {error}") from None
        foreign = [name for name in names if not is_for(found.names, name)]
        if foreign:
            raise _Problem(_misnamed(key, wanted.secret, found, foreign, names[-1]))
        tls = ChannelTls(authority, certificate, private)
        known = Known(wanted.secret, _PAIR[0], found.not_before, found.not_after)
        return Certificates(tls, (known,))

    async def _secret(self, key: ObjectKey, name: str, all_: Sequence[str]) -> Mapping[str, str]:
        try:
            found = await self._context.client.get(SECRET, ObjectKey(key.namespace, name))
        except NotFound:
            raise _Problem(
                f"Secret {name} does not exist in namespace {key.namespace}", missing=True
            ) from None
        except Forbidden as error:
            raise _Problem(_forbidden(key, name, all_, str(error))) from None
        except ApiError as error:
            raise _Problem(f"Secret {name} cannot be read: {error}", missing=True) from None
        return found.get("data") or {}

    def _judged(self, found: Certificates) -> Certificates:
        """What the clock says of them."""
        now = self._context.clock.time()
        for one in found.known:
            if one.not_after <= now:
                why = f"Secret {one.secret}: {one.key} expired at {timestamp(one.not_after)}; renew it"
                return replace(found, problem=why)
            if one.not_before > now:
                why = f"Secret {one.secret}: {one.key} is not valid before {timestamp(one.not_before)}"
                return replace(found, problem=why)
        return found


def _value(secret: str, content: Mapping[str, str], key: str) -> bytes:
    try:
        value = base64.b64decode(content.get(key) or "", validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if not value:
        raise _Problem(f"Secret {secret} has no {key}", missing=True)
    return value


def _authority(wanted: Encryption, content: Mapping[str, Mapping[str, str]]) -> bytes:
    if wanted.ca_secret:
        return _value(wanted.ca_secret, content[wanted.ca_secret], _AUTHORITY)
    if not content[wanted.secret].get(_AUTHORITY):
        why = f"Secret {wanted.secret} has no {_AUTHORITY}: add it, or set spec.tls.caSecretName"
        raise _Problem(why, missing=True)
    return _value(wanted.secret, content[wanted.secret], _AUTHORITY)


def _called(secrets: Sequence[str]) -> str:
    return f"Secret {secrets[0]}" if len(secrets) == 1 else f"Secrets {' and '.join(secrets)}"


def _misnamed(key: ObjectKey, secret: str, found: Inspection, foreign: Sequence[str], service: str) -> str:
    pods = f"*.{service.replace(key.name, naming.headless_name(key.name), 1)}"
    return (
        f"Secret {secret}: tls.crt is not valid for {foreign[0]}, only for "
        f"{', '.join(found.names) or 'no name'}; request it for {pods} and {service}"
    )


def _forbidden(key: ObjectKey, secret: str, secrets: Sequence[str], error: str) -> str:
    """What to grant, as commands: the permission is not among those that the operator has by itself."""
    user = _USER.search(error)
    account = user[1].removeprefix(_ACCOUNT) if user and user[1].startswith(_ACCOUNT) else ""
    who = f"--serviceaccount={account}" if account else f"--user={user[1] if user else 'OPERATOR'}"
    named = " ".join(f"--resource-name={one}" for one in secrets)
    role = f"{_ROLE}-{key.name}"
    return (
        f"the operator has no permission to get Secret {secret}; grant it: "
        f"kubectl create role {role} --namespace={key.namespace} --verb=get --resource=secrets {named} && "
        f"kubectl create rolebinding {role} --namespace={key.namespace} --role={role} {who}"
    )
