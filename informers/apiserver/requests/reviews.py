"""SelfSubjectAccessReviews, answered from the fault rules in force. They are not stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from informers.apiserver.errors.refusals import bad_request
from informers.apiserver.kinds.registry import ResourceType
from informers.apiserver.requests.calls import Call, ObjectOutcome
from informers.apiserver.requests.routes import RequestInfo
from informers.objects import Object, Resource

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


def review(call: Call, forbids: Callable[[RequestInfo, str], bool]) -> ObjectOutcome:
    """Answer a review.

    :param forbids: whether a request of a user would be refused with 403.
    :raises StatusError: 400 when the question makes no sense.
    """
    spec = call.body.get("spec") if isinstance(call.body, dict) else None
    asked: Object = spec if isinstance(spec, dict) else {}
    wanted, url = asked.get("resourceAttributes"), asked.get("nonResourceAttributes")
    if (wanted is None) == (url is None):
        raise bad_request("exactly one of nonResourceAttributes or resourceAttributes must be specified")
    allowed = wanted is None or not forbids(_request(wanted), call.user)
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
