"""What the errors of routers mean to people. Pure."""

from __future__ import annotations

from controllers.status import reasons as r
from etl_operator.router.errors import (
    NotLeader,
    Rejected,
    RouterAdminUnavailable,
    RouterError,
    Unreachable,
)


def verdict(error: RouterError) -> tuple[str, str]:
    """Reason and message of the condition about an error."""
    if isinstance(error, RouterAdminUnavailable):
        return r.ADMIN_UNAVAILABLE, f"the router does not serve RouterAdmin: {error}"
    if isinstance(error, Rejected):
        return r.REJECTED, str(error)
    if isinstance(error, NotLeader):
        return r.NO_LEADER, str(error)
    if isinstance(error, Unreachable):
        return r.UNREACHABLE, str(error)
    # Overloaded, or failed inside: an answer, and another one may come later.
    return r.RETRYING, str(error)
