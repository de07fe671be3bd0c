"""How long a failing key rests, by what failed. Pure, but for the randomness passed in."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from informers.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    Invalid,
    ServerError,
    Terminal,
    TooManyRequests,
    Unauthorized,
)


class ErrorClass(Enum):
    """What an error says about when to try again."""

    CONFLICT = "conflict"
    """Someone else was faster; the next read usually settles it."""
    THROTTLED = "throttled"
    """The server asked for patience."""
    TRANSIENT = "transient"
    """Anything else: no answer, a failing server, an error nobody foresaw."""
    REFUSED = "refused"
    """Credentials or permissions; a person has to act."""
    INVALID = "invalid"
    """The request will stay wrong until its object changes."""
    TERMINAL = "terminal"
    """The reconciler itself said that retrying cannot help."""


@dataclass(frozen=True, slots=True)
class Steps:
    """Exponential steps in seconds: ``first``, doubled with every failure, never above ``limit``."""

    first: float
    limit: float


MINUTES_5 = 300.0

DEFAULT_STEPS: Mapping[ErrorClass, Steps] = {
    ErrorClass.CONFLICT: Steps(0.005, 10.0),
    ErrorClass.THROTTLED: Steps(1.0, MINUTES_5),
    ErrorClass.TRANSIENT: Steps(0.005, MINUTES_5),
    ErrorClass.REFUSED: Steps(1.0, MINUTES_5),
    ErrorClass.INVALID: Steps(1.0, MINUTES_5),
}

JITTER = 0.2
"""Up to this share of a delay is taken off at random, so that keys that failed together part."""

_DOUBLINGS = 32
"""Beyond any limit; keeps the power small for a key that has failed for months."""


def classify(error: BaseException) -> ErrorClass:
    """The class of an error. What is not known is transient."""
    if isinstance(error, Terminal):
        return ErrorClass.TERMINAL
    if isinstance(error, Conflict):
        return ErrorClass.CONFLICT
    if isinstance(error, TooManyRequests):
        return ErrorClass.THROTTLED
    if isinstance(error, ServerError) and error.retry_after is not None:
        return ErrorClass.THROTTLED
    if isinstance(error, Forbidden | Unauthorized):
        return ErrorClass.REFUSED
    if isinstance(error, Invalid | BadRequest):
        return ErrorClass.INVALID
    return ErrorClass.TRANSIENT


class Backoff:
    """Delays from failures.

    :param steps: the steps of every class but ``TERMINAL``; a missing class counts as transient.
    """

    def __init__(self, rng: random.Random, steps: Mapping[ErrorClass, Steps] = DEFAULT_STEPS) -> None:
        self._rng = rng
        self._steps = steps

    def delay(self, error: BaseException, failures: int) -> float | None:
        """Seconds until the next try after the ``failures``-th failure in a row, counted from 1.

        ``None`` means not before something changes. A server's ``Retry-After`` is the least that is waited.
        """
        kind = classify(error)
        if kind is ErrorClass.TERMINAL:
            return None
        steps = self._steps.get(kind) or self._steps[ErrorClass.TRANSIENT]
        delay = min(steps.limit, steps.first * 2.0 ** min(failures - 1, _DOUBLINGS))
        delay *= 1.0 - JITTER * self._rng.random()
        asked = getattr(error, "retry_after", None)
        if isinstance(asked, int | float) and asked > delay:
            delay = asked * (1.0 + JITTER * self._rng.random())
        return delay
