"""Who makes a request, and whether they may: tokens, impersonation, and the grants kept in the store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from etl_operator.sandbox.http.access.identity import (
    ANONYMOUS,
    AUTHENTICATED,
    Identity,
    service_account,
    service_account_of,
)
from etl_operator.sandbox.http.access.rbac import (
    Attributes,
    Policy,
    RawObject,
    attributes_for_impersonation,
    forbidden_message,
)
from etl_operator.sandbox.http.access.tokens import Tokens
from informers.apiserver.errors import StatusError

GRANTS = ("clusterroles", "roles", "clusterrolebindings", "rolebindings")
"""The kinds a policy is made of, in the order :class:`Policy` takes them."""

_NOT_UNDERSTOOD = ("impersonate-uid", "impersonate-extra-")


class Access:
    """Decides about requests.

    :param tokens: whom a bearer token belongs to.
    :param grants: all objects of one of the kinds in :data:`GRANTS`.
    :param revision: a number that changes whenever any of them does.
    :param audit: called with every decision.
    """

    def __init__(
        self,
        tokens: Tokens,
        grants: Callable[[str], Iterable[RawObject]],
        revision: Callable[[], int],
        audit: Callable[[Identity, Attributes, bool], None] | None = None,
    ) -> None:
        self._tokens = tokens
        self._grants = grants
        self._revision = revision
        self._audit = audit
        self._compiled: tuple[int, Policy] | None = None

    def policy(self) -> Policy:
        """The grants of this moment, compiled at most once per change."""
        revision = self._revision()
        if self._compiled is None or self._compiled[0] != revision:
            cluster_roles, roles, cluster_bindings, bindings = (list(self._grants(kind)) for kind in GRANTS)
            self._compiled = revision, Policy(cluster_roles, roles, cluster_bindings, bindings)
        return self._compiled[1]

    def identify(self, headers: Mapping[str, str], impersonated_groups: Iterable[str] = ()) -> Identity:
        """Who asks.

        :raises StatusError: 401 for a token nobody has; 403 for an impersonation that is not allowed, 400 and
            501 for one that makes no sense or is not understood.
        """
        user = self._bearer(headers.get("Authorization", ""))
        wanted, groups = headers.get("Impersonate-User", ""), tuple(impersonated_groups)
        others = [
            name for name in headers if name.lower().startswith(("impersonate-uid", "impersonate-extra-"))
        ]
        if others:
            raise StatusError(
                501, "NotImplemented", f"the sandbox does not support the headers {', '.join(others)}"
            )
        if not wanted:
            if groups:
                raise StatusError(400, "BadRequest", "groups are impersonated without a user")
            return user
        for needed in attributes_for_impersonation(wanted, groups):
            self.require(user, needed)
        account = service_account_of(wanted)
        if account is not None and not groups:
            return service_account(*account)
        # Whoever is someone is authenticated, on whose behalf it ever is.
        known = () if wanted == ANONYMOUS.name or AUTHENTICATED in groups else (AUTHENTICATED,)
        return Identity(wanted, (*groups, *known))

    def _bearer(self, header: str) -> Identity:
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            return ANONYMOUS
        found = self._tokens.identify(token.strip())
        if found is None:
            raise StatusError(401, "Unauthorized", "Unauthorized")
        return found

    def allows(self, user: Mapping[str, Any], verb: str, group: str, plural: str, name: str) -> bool:
        """Whether a user, in the ``UserInfo`` shape, may do a verb to a cluster-scoped object."""
        found = Identity(str(user.get("username", "")), tuple(user.get("groups") or ()))
        return self.policy().decide(found, Attributes(verb, group, plural, name=name)).allowed

    def require(self, user: Identity, wanted: Attributes) -> None:
        """:raises StatusError: 403 with the sentence kubectl users know, unless the user may do it."""
        allowed = self.policy().decide(user, wanted).allowed
        if self._audit is not None:
            self._audit(user, wanted, allowed)
        if allowed:
            return
        message = forbidden_message(user, wanted)
        if wanted.path:
            raise StatusError(403, "Forbidden", f"forbidden: {message}")
        target = f"{wanted.resource}.{wanted.group}" if wanted.group else wanted.resource
        name = f' "{wanted.name}"' if wanted.name else ""
        details: dict[str, object] = {"kind": wanted.resource}
        if wanted.group:
            details["group"] = wanted.group
        if wanted.name:
            details["name"] = wanted.name
        raise StatusError(403, "Forbidden", f"{target}{name} is forbidden: {message}", details)
