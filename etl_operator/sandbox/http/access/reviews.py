"""Questions about users and permissions. They are answered on the spot and stored nowhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from etl_operator.sandbox.http.access.identity import Identity
from etl_operator.sandbox.http.access.rbac import Attributes, Policy, Rule
from etl_operator.sandbox.http.access.tokens import Tokens
from informers.apiserver.errors import StatusError
from informers.objects import Object

_TOKEN_SECONDS = 3600
_TOKEN_MINIMUM, _TOKEN_MAXIMUM = 600, 2**32

_TYPES = {str: "string", int: "integer", list: "array", dict: "object"}
_ATTRIBUTES = dict.fromkeys(("namespace", "verb", "group", "resource", "subresource", "name"), str)
_SPEC: dict[str, Any] = {
    **dict.fromkeys(("user", "uid", "token", "namespace"), str),
    "groups": [str],
    "audiences": [str],
    "expirationSeconds": int,
    "resourceAttributes": _ATTRIBUTES,
    "nonResourceAttributes": {"path": str, "verb": str},
}
"""What the fields are that are read, of the ``spec`` of every kind of question."""


class Reviews:
    """Answers every review kind.

    :param policy: the grants at the moment of the question.
    :param tokens: whom a token belongs to.
    """

    def __init__(self, policy: Callable[[], Policy], tokens: Tokens) -> None:
        self._policy = policy
        self._tokens = tokens
        self._answers: Mapping[str, Callable[[Identity, str, Object], Object]] = {
            "selfsubjectaccessreviews": self._own_access,
            "subjectaccessreviews": self._access,
            "localsubjectaccessreviews": self._local_access,
            "selfsubjectrulesreviews": self._own_rules,
            "selfsubjectreviews": self._who_am_i,
            "tokenreviews": self._token,
        }

    def answer(self, plural: str, user: Identity, namespace: str, body: Object) -> Object:
        """The review with its ``status`` filled in.

        :raises StatusError: 400 when the question makes no sense.
        """
        return {**body, "status": self._answers[plural](user, namespace, spec_of(body))}

    def _own_access(self, user: Identity, _: str, spec: Object) -> Object:
        return self._decide(user, spec)

    def _access(self, _: Identity, __: str, spec: Object) -> Object:
        if not spec.get("user") and not spec.get("groups"):
            raise StatusError(400, "BadRequest", "at least one of user or group must be specified")
        asked = Identity(str(spec.get("user") or ""), tuple(spec.get("groups") or ()))
        return self._decide(asked, spec)

    def _local_access(self, user: Identity, namespace: str, spec: Object) -> Object:
        wanted = (spec.get("resourceAttributes") or {}).get("namespace", "")
        if wanted != namespace:
            raise StatusError(
                400, "BadRequest", f"spec.resourceAttributes.namespace must match namespace: {namespace}"
            )
        return self._access(user, namespace, spec)

    def _decide(self, user: Identity, spec: Object) -> Object:
        decision = self._policy().decide(user, _attributes(spec))
        answer: Object = {"allowed": decision.allowed}
        if decision.reason:
            answer["reason"] = decision.reason
        return answer

    def _own_rules(self, user: Identity, _: str, spec: Object) -> Object:
        rules = self._policy().rules(user, str(spec.get("namespace") or ""))
        return {
            "resourceRules": [_resource_rule(rule) for rule in rules if rule.resources],
            "nonResourceRules": [
                {"verbs": sorted(rule.verbs), "nonResourceURLs": list(rule.urls)}
                for rule in rules
                if rule.urls
            ],
            "incomplete": False,
        }

    def _who_am_i(self, user: Identity, _: str, __: Object) -> Object:
        return {"userInfo": user.as_user_info()}

    def _token(self, _: Identity, __: str, spec: Object) -> Object:
        audiences = spec.get("audiences")
        token = str(spec.get("token") or "")
        found = self._tokens.identify(token, audiences) if audiences else self._tokens.identify(token)
        if found is None:
            return {"authenticated": False, "error": "invalid bearer token"}
        answer: Object = {"authenticated": True, "user": found.as_user_info()}
        if audiences:
            answer["audiences"] = audiences
        return answer


def spec_of(body: Object) -> Object:
    """The ``spec`` of a question, none being an empty one.

    :raises StatusError: 400 for a field that is not of its type.
    """
    spec: Object = body.get("spec") or {}
    _check(spec, _SPEC, "spec")
    return spec


def _check(value: Any, expected: Any, field: str) -> None:
    if value is None:
        return
    kind: type[Any] = expected if isinstance(expected, type) else type(expected)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise StatusError(400, "BadRequest", f"{field} must be of the type {_TYPES[kind]}")
    if isinstance(expected, dict):
        for key, below in expected.items():
            _check(value.get(key), below, f"{field}.{key}")
    elif isinstance(expected, list):
        for index, one in enumerate(value):
            _check(one, expected[0], f"{field}[{index}]")


def token_request(
    tokens: Tokens, account: Object, body: Object, format_time: Callable[[float], str]
) -> Object:
    """Answer ``POST serviceaccounts/<name>/token``: the request with a token in its status.

    :raises StatusError: 400 for a field that is not of its type, 422 for a lifetime below ten minutes or
        above 2^32 seconds.
    """
    spec = dict(spec_of(body))
    seconds = int(spec.get("expirationSeconds") or _TOKEN_SECONDS)
    problem = "may not specify a duration less than 10 minutes" if seconds < _TOKEN_MINIMUM else ""
    if seconds > _TOKEN_MAXIMUM:
        problem = "may not specify a duration larger than 2^32 seconds"
    if problem:
        raise StatusError(422, "Invalid", f"spec.expirationSeconds: Invalid value: {seconds}: {problem}")
    metadata = account["metadata"]
    audiences = spec.get("audiences")
    issued = tokens.issue(
        metadata["namespace"],
        metadata["name"],
        metadata["uid"],
        seconds=seconds,
        **({"audiences": audiences} if audiences else {}),
    )
    return {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"name": metadata["name"], "namespace": metadata["namespace"]},
        "spec": {**spec, "expirationSeconds": seconds},
        "status": {"token": issued.token, "expirationTimestamp": format_time(issued.expires_at)},
    }


def _attributes(spec: Object) -> Attributes:
    resource, url = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if (resource is None) == (url is None):
        raise StatusError(
            400, "BadRequest", "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        )
    if url is not None:
        return Attributes(str(url.get("verb") or ""), path=str(url.get("path") or ""))
    assert resource is not None
    return Attributes(
        str(resource.get("verb") or ""),
        str(resource.get("group") or ""),
        str(resource.get("resource") or ""),
        str(resource.get("subresource") or ""),
        str(resource.get("namespace") or ""),
        str(resource.get("name") or ""),
    )


def _resource_rule(rule: Rule) -> Object:
    answer: Object = {
        "verbs": sorted(rule.verbs),
        "apiGroups": sorted(rule.groups),
        "resources": sorted(rule.resources),
    }
    if rule.names:
        answer["resourceNames"] = sorted(rule.names)
    return answer
