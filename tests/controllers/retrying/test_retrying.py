"""Pauses, waits and troubles, on a clock of their own."""

from __future__ import annotations

from typing import cast

import pytest

from controllers.retrying.pauses import Waiting, sooner
from controllers.retrying.troubles import AlarmRules, Alarms, Troubles
from controllers.status.conditions import Conditions
from informers.events import EventRecorder
from informers.objects import Object, ObjectKey

A, B = ObjectKey("etl", "a"), ObjectKey("etl", "b")


class Hand:
    """A clock that is set by hand; its wall clock is not to be read."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        raise AssertionError("deadlines do not depend on the time of day")


def test_trouble_is_told_once_and_only_when_it_lasts() -> None:
    clock = Hand()
    troubles = Troubles(clock, 10.0)
    assert not troubles.lasts(A, "Unreachable")
    assert troubles.left(A, "Unreachable") == 10.0
    clock.now += 4
    assert not troubles.lasts(A, "NoLeader")
    assert troubles.left(A, "Unreachable") == 6.0
    clock.now += 6
    assert troubles.lasts(A, "Unreachable")
    assert not troubles.lasts(A, "Unreachable")
    assert troubles.left(A, "Unreachable") is None
    assert not troubles.lasts(A, "NoLeader"), "each has its own time"
    clock.now += 4
    assert troubles.lasts(A, "NoLeader")


def test_trouble_that_ends_starts_anew() -> None:
    clock = Hand()
    troubles = Troubles(clock, 10.0)
    troubles.lasts(A, "Unreachable")
    clock.now += 9
    troubles.over(A)
    clock.now += 9
    assert not troubles.lasts(A, "Unreachable")
    assert troubles.left(B, "Unreachable") is None


def test_waiting_begins_when_it_is_first_seen() -> None:
    clock = Hand()
    waiting = Waiting(clock)
    assert waiting.seconds(A, "one") == 0.0
    clock.now += 7
    assert waiting.seconds(A, "one") == 7.0
    assert waiting.seconds(A, "two") == 0.0, "another object of the name"
    waiting.over(A)
    clock.now += 7
    assert waiting.seconds(A, "two") == 0.0


@pytest.mark.parametrize(
    ("one", "other", "found"), [(None, None, None), (1.0, None, 1.0), (None, 0.0, 0.0), (3.0, 2.0, 2.0)]
)
def test_the_sooner_of_two_waits(one: float | None, other: float | None, found: float | None) -> None:
    assert sooner(one, other) == found


class Told:
    """Keeps the reasons of events."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def event(self, obj: Object, *, type: str, reason: str, action: str, note: str) -> None:
        assert (type, action) == ("Warning", "Act")
        self.reasons.append(reason)


def conditions(status: bool, reason: str, before: Conditions | None = None) -> Conditions:
    obj: Object = {"status": {"conditions": before.items() if before else []}}
    found = Conditions(obj, 1, "2027-01-15T08:00:00Z")
    found.set("Fine", status, reason, "a message")
    return found


def test_alarms_tell_of_what_lasts_and_at_once_of_what_does_not_pass() -> None:
    clock, told = Hand(), Told()
    rules = AlarmRules("Fine", {"Away": "LongAway", "Wrong": "Refused"}, {"Wrong"}, "Act")
    alarms = Alarms(cast(EventRecorder, told), clock, 10.0, rules)
    away, wrong, idle = (conditions(False, reason) for reason in ("Away", "Wrong", "Idle"))
    alarms.look(A, {}, away)
    assert (told.reasons, alarms.left(A, away)) == ([], 10.0)
    alarms.look(A, {}, idle)
    alarms.look(A, {}, wrong)
    alarms.look(A, {}, conditions(False, "Wrong", wrong))
    assert told.reasons == ["Refused"], "once, when the condition turns"
    clock.now += 10
    alarms.look(A, {}, away)
    alarms.look(A, {}, away)
    assert (told.reasons, alarms.left(A, away)) == (["Refused", "LongAway"], None)
    alarms.look(A, {}, conditions(True, "Well"))
    alarms.look(A, {}, away)
    assert (len(told.reasons), alarms.left(A, away)) == (2, 10.0), "a new trouble has its own time"
