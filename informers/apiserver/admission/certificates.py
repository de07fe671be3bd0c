"""Plugins of certificates: approval, signing, attestation of trust bundles, restriction of subjects."""

from __future__ import annotations

import base64

from informers.apiserver.admission.plugin import Plugin, refused
from informers.apiserver.builtin.context import Context
from informers.objects import Object

_GROUP = "certificates.k8s.io"
_REQUESTS = frozenset({(_GROUP, "certificatesigningrequests")})
_BUNDLES = frozenset({(_GROUP, "clustertrustbundles")})
_CLIENTS = "kubernetes.io/kube-apiserver-client"
_MASTERS = b"system:masters"


def _may(context: Context, verb: str, signer: str) -> bool:
    """Whether the writer has a right on a signer, or on all signers of its domain."""
    names = (signer, signer.partition("/")[0] + "/*")
    return any(context.may(context.user, verb, _GROUP, "signers", name) for name in names)


def _check_approval(request: Object, old: Object | None, context: Context) -> None:
    signer = str((old or request)["spec"].get("signerName"))
    if not _may(context, "approve", signer):
        why = f'user not permitted to approve requests with signerName "{signer}"'
        raise refused(request, context, why)


APPROVAL = Plugin(
    "CertificateApproval", _REQUESTS, validate=_check_approval, subresources=frozenset({"approval"})
)


def _check_signing(request: Object, old: Object | None, context: Context) -> None:
    before, now = (old or {}).get("status") or {}, request.get("status") or {}
    if before.get("certificate") == now.get("certificate") and _failed(before) == _failed(now):
        return
    signer = str((old or request)["spec"].get("signerName"))
    if not _may(context, "sign", signer):
        why = f'user not permitted to sign requests with signerName "{signer}"'
        raise refused(request, context, why)


def _failed(status: Object) -> list[Object]:
    return [one for one in status.get("conditions") or () if one.get("type") == "Failed"]


SIGNING = Plugin("CertificateSigning", _REQUESTS, validate=_check_signing, subresources=frozenset({"status"}))


def _check_attested(bundle: Object, old: Object | None, context: Context) -> None:
    signer = str(bundle["spec"].get("signerName") or "")
    if old is not None and old["spec"] == bundle["spec"]:
        return
    if signer and not _may(context, "attest", signer):
        raise refused(bundle, context, f'user not permitted to attest for signerName "{signer}"')


ATTEST = Plugin("ClusterTrustBundleAttest", _BUNDLES, validate=_check_attested)


def _check_subject(request: Object, old: Object | None, context: Context) -> None:
    if request["spec"].get("signerName") != _CLIENTS:
        return
    # The names of a subject stand in the encoded request as they are.
    pem = base64.b64decode(request["spec"]["request"])
    body = b"".join(line for line in pem.splitlines() if not line.startswith(b"-----"))
    if _MASTERS in base64.b64decode(body):
        why = f"use of {_CLIENTS} signer with system:masters group is not allowed"
        raise refused(request, context, why)


SUBJECT = Plugin("CertificateSubjectRestriction", _REQUESTS, validate=_check_subject)
