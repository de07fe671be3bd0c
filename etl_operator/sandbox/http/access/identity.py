"""Who makes a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

AUTHENTICATED = "system:authenticated"
UNAUTHENTICATED = "system:unauthenticated"
MASTERS = "system:masters"
"""Members may do everything; no rule is asked."""

_SERVICE_ACCOUNT_PREFIX = "system:serviceaccount:"


@dataclass(frozen=True, slots=True)
class Identity:
    """A user as the authorizer sees it.

    :param name: the user name, for instance ``system:serviceaccount:<namespace>:<name>``.
    :param uid: the service account's uid; "" for users that are no objects.
    """

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, Sequence[str]] = field(default_factory=lambda: MappingProxyType({}))

    def as_user_info(self) -> dict[str, object]:
        """The ``UserInfo`` shape of reviews."""
        info: dict[str, object] = {"username": self.name}
        if self.uid:
            info["uid"] = self.uid
        if self.groups:
            info["groups"] = list(self.groups)
        if self.extra:
            info["extra"] = {key: list(values) for key, values in self.extra.items()}
        return info


ADMIN = Identity("sandbox-admin", (MASTERS, AUTHENTICATED))
ANONYMOUS = Identity("system:anonymous", (UNAUTHENTICATED,))


def service_account(namespace: str, name: str, uid: str = "") -> Identity:
    """The identity of a service account, with the groups every one of them is in."""
    return Identity(
        f"{_SERVICE_ACCOUNT_PREFIX}{namespace}:{name}",
        ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED),
        uid,
    )


def service_account_of(user_name: str) -> tuple[str, str] | None:
    """Namespace and name when the user name is a service account's, else ``None``."""
    if not user_name.startswith(_SERVICE_ACCOUNT_PREFIX):
        return None
    namespace, separator, name = user_name[len(_SERVICE_ACCOUNT_PREFIX) :].partition(":")
    return (namespace, name) if separator and namespace and name else None
