"""Which trouble of a service a user should act on."""

from __future__ import annotations

from controllers.retrying.troubles import AlarmRules
from controllers.status import reasons as r

ALARMS = AlarmRules(
    condition=r.REGISTERED,
    reasons={
        r.RETRYING: r.REGISTRATION_FAILED,
        r.CLUSTER_NOT_FOUND: r.CLUSTER_NOT_FOUND,
        r.AMBIGUOUS_CLUSTER: r.AMBIGUOUS_CLUSTER,
        r.NOT_ALLOWED: r.NOT_ALLOWED,
        r.NAME_CONFLICT: r.NAME_CONFLICT,
        r.VALIDATION_FAILED: r.VALIDATION_FAILED,
    },
    at_once={r.NAME_CONFLICT, r.VALIDATION_FAILED},
    action="Register",
)
