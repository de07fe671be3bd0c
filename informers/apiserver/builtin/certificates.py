"""Rules of CertificateSigningRequests: requester, content, approval and denial."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from typing import Any

from informers.apiserver.errors import Cause
from informers.apiserver.errors.causes import duplicate, forbidden, invalid, required, unsupported
from informers.objects import Object

GROUP = "certificates.k8s.io"
REQUEST = (GROUP, "CertificateSigningRequest")
APPROVAL = "approval"

_DECISIONS = ("Approved", "Denied")
_LASTING = (*_DECISIONS, "Failed")
_SHORTEST = 600
_LEGACY_SIGNER = "kubernetes.io/legacy-unknown"
_WHO = {"username": "username", "uid": "uid", "groups": "groups", "extra": "extra"}
_PEM = re.compile(rb"-----BEGIN CERTIFICATE REQUEST-----\s.*?-----END CERTIFICATE REQUEST-----", re.DOTALL)
_USAGES = tuple(
    sorted(
        (
            "any",
            "cert sign",
            "client auth",
            "code signing",
            "content commitment",
            "crl sign",
            "data encipherment",
            "decipher only",
            "digital signature",
            "email protection",
            "encipher only",
            "ipsec end system",
            "ipsec tunnel",
            "ipsec user",
            "key agreement",
            "key encipherment",
            "microsoft sgc",
            "netscape sgc",
            "ocsp signing",
            "s/mime",
            "server auth",
            "signing",
            "timestamping",
        )
    )
)


def asked_by(draft: Object, user: Mapping[str, Any]) -> None:
    """Write into a new request who makes it; whatever its author claims about that is dropped.

    :param user: in the ``UserInfo`` shape.
    """
    spec = draft["spec"]
    for name in _WHO:
        spec.pop(name, None)
        if user.get(name):
            spec[name] = user[name]
    draft["status"] = {}


def decided(new: Object, old: Object, subresource: str, now: str) -> Object:
    """What a write to ``/status`` or ``/approval`` makes of a request: its old spec, and dated conditions."""
    status, before = dict(new.get("status") or {}), old.get("status") or {}
    conditions = [dict(one) for one in status.get("conditions") or ()]
    if subresource == APPROVAL:
        status = dict(before)
    else:
        conditions = _with_decisions_of(conditions, before.get("conditions") or [])
    for one in conditions:
        one["lastUpdateTime"] = one.get("lastUpdateTime") or now
        if not one.get("lastTransitionTime"):
            same = (
                former["lastTransitionTime"]
                for former in before.get("conditions") or ()
                if (former.get("type"), former.get("status")) == (one.get("type"), one.get("status"))
                and former.get("lastTransitionTime")
            )
            one["lastTransitionTime"] = next(same, now)
    status.pop("conditions", None)
    if conditions:
        status["conditions"] = conditions
    return {**new, "spec": old["spec"], "status": status}


def _with_decisions_of(conditions: list[Object], before: list[Object]) -> list[Object]:
    """Approvals and denials are as they were where there are as many of them as before."""
    for kind in _DECISIONS:
        places = [at for at, one in enumerate(conditions) if one.get("type") == kind]
        former = [one for one in before if one.get("type") == kind]
        if len(places) == len(former):
            for at, one in zip(places, former, strict=True):
                conditions[at] = dict(one)
    return conditions


def validate(new: Object, old: Object | None, subresource: str) -> Iterator[Cause]:
    """A CertificateSigningRequest, however it is written."""
    spec = new["spec"]
    if not _is_request(spec.get("request")):
        yield invalid("spec.request", spec.get("request"), "PEM block type must be CERTIFICATE REQUEST")
    usages = spec.get("usages") or []
    if not usages:
        yield required("spec.usages")
    for position, usage in enumerate(usages):
        if usage not in _USAGES:
            yield unsupported(f"spec.usages[{position}]", usage, _USAGES)
        if usage in usages[:position]:
            yield duplicate(f"spec.usages[{position}]", usage)
    yield from _signer(spec.get("signerName"))
    seconds = spec.get("expirationSeconds")
    if isinstance(seconds, int) and seconds < _SHORTEST:
        detail = "may not specify a duration less than 600 seconds (10 minutes)"
        yield invalid("spec.expirationSeconds", seconds, detail)
    yield from _conditions((new.get("status") or {}).get("conditions") or [])
    if old is not None:
        yield from _changes(new.get("status") or {}, old.get("status") or {}, subresource)


def unowned(subresource: str) -> list[tuple[str, ...]]:
    """What nobody comes to own by writing a request: all that only the server or a subresource may change."""
    if subresource == APPROVAL:
        return [("spec",), ("status", "certificate")]
    return [("spec",)] if subresource else [("spec",), ("status",)]


def _is_request(encoded: Any) -> bool:
    try:
        return _PEM.search(base64.b64decode(str(encoded))) is not None
    except ValueError:
        return False


def _signer(name: Any) -> Iterator[Cause]:
    if not name:
        yield required("spec.signerName")
    elif name == _LEGACY_SIGNER:
        yield invalid("spec.signerName", name, "the legacy signerName is not allowed via this API version")
    elif str(name).count("/") != 1 or "." not in str(name).partition("/")[0]:
        detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        yield invalid("spec.signerName", name, detail)


def _conditions(conditions: list[Object]) -> Iterator[Cause]:
    kinds: list[str] = []
    for position, one in enumerate(conditions):
        field, kind, value = f"status.conditions[{position}]", str(one.get("type") or ""), one.get("status")
        allowed = ("True",) if kind in _LASTING else ("False", "True", "Unknown")
        if not kind:
            yield required(f"{field}.type")
        if not value:
            yield required(f"{field}.status")
        elif value not in allowed:
            yield unsupported(f"{field}.status", value, allowed)
        if kind in _DECISIONS and set(kinds) & (set(_DECISIONS) - {kind}):
            both = [f'conditions[{{"type": "{decision}"}}]' for decision in _DECISIONS]
            detail = "must specify at most one of: " + ", ".join(f"`{one}`" for one in both)
            yield invalid("status.conditions", "{" + ", ".join(both) + "}", detail)
        if kind in kinds:
            yield duplicate(f"{field}.type", kind)
        kinds.append(kind)


def _changes(new: Object, old: Object, subresource: str) -> Iterator[Cause]:
    now = [one.get("type") for one in new.get("conditions") or ()]
    before = [one.get("type") for one in old.get("conditions") or ()]
    for kind in _LASTING:
        if now.count(kind) < before.count(kind):
            yield forbidden("status.conditions", f'updates may not remove a condition of type "{kind}"')
        elif kind in _DECISIONS and subresource != APPROVAL and now.count(kind) > before.count(kind):
            yield forbidden("status.conditions", f'updates may not add a condition of type "{kind}"')
    if new.get("certificate") != old.get("certificate"):
        if subresource != "status":
            yield forbidden("status.certificate", "updates may not set certificate content")
        elif old.get("certificate"):
            yield forbidden("status.certificate", "updates may not modify existing certificate content")
