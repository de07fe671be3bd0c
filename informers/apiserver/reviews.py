"""May I? Whether the rules in force would refuse a request. Answered on the spot and stored nowhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from informers.apiserver.errors.refusals import bad_request
from informers.apiserver.kinds.registry import ResourceType
from informers.apiserver.requests.calls import Call, ObjectOutcome
from informers.apiserver.requests.routes import RequestInfo
from informers.objects import Object, Resource

if TYPE_CHECKING:
    from informers.apiserver.core import ApiServer

_GROUP, _PLURAL = "authorization.k8s.io", "selfsubjectaccessreviews"

REVIEW = ResourceType(
    Resource(_GROUP, "v1", _PLURAL, "SelfSubjectAccessReview", namespaced=False),
    "selfsubjectaccessreview",
    verbs=("create",),
    storage=(_GROUP, _PLURAL),
)
"""Of no registry: there are no objects of it."""


def parse_review(method: str, path: str, query: Mapping[str, str]) -> RequestInfo | None:
    """The request that is a review; ``None`` for all others."""
    if method != "POST" or path != REVIEW.resource.path():
        return None
    return RequestInfo("create", REVIEW, "", "", "", query)


def review(core: ApiServer, call: Call) -> ObjectOutcome:
    """Answer a review: everything is allowed that no fault rule refuses with 403.

    :raises StatusError: 400 when the question makes no sense.
    """
    spec = call.body.get("spec") if isinstance(call.body, dict) else None
    asked: Object = spec if isinstance(spec, dict) else {}
    wanted, url = asked.get("resourceAttributes"), asked.get("nonResourceAttributes")
    if (wanted is None) == (url is None):
        raise bad_request("exactly one of nonResourceAttributes or resourceAttributes must be specified")
    allowed = wanted is None or not core.faults.forbids(_request(wanted), call.user)
    return ObjectOutcome(201, {**call.body, "status": {"allowed": allowed}})


def _request(attributes: Object) -> RequestInfo:
    """The request that is asked about, whether or not its resource is served."""
    word = {name: str(value) for name, value in attributes.items()}
    resource = Resource(word.get("group", ""), word.get("version", ""), word.get("resource", ""), "")
    return RequestInfo(
        word.get("verb", ""),
        ResourceType(resource, ""),
        word.get("namespace", ""),
        word.get("name", ""),
        word.get("subresource", ""),
        {},
    )
