from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl_operator.node.consensus import wire
from etl_operator.node.consensus.election import Inquiry, answer
from etl_operator.node.consensus.settings import Timing

TIMING = Timing(1.0, 2.0, 0.1)
LAST = (b"", 9, 4)


def question(term: int = 6, index: int = 9, last_term: int = 4) -> wire.PreVote:
    return wire.PreVote(term=term, last_log_index=index, last_log_term=last_term)


@pytest.mark.parametrize(
    ("asked", "led", "expected"),
    [
        (question(), False, wire.PreVoteGranted(term=6)),
        (question(), True, None),
        (question(index=8), False, None),
        (question(index=8, last_term=5), False, wire.PreVoteGranted(term=6)),
        (question(index=99, last_term=3), False, None),
        (question(term=5), False, wire.StaleTerm(term=5)),
        (question(term=2), True, wire.StaleTerm(term=5)),
    ],
)
def test_answers(asked: wire.PreVote, led: bool, expected: wire.Message | None) -> None:
    assert answer(asked, 5, LAST, led=led) == expected


def test_it_asks_once_per_heartbeat() -> None:
    inquiry = Inquiry(lambda granted: len(granted) > 0, TIMING)
    assert inquiry.may_stand(5, LAST, 10.0) == question()
    assert inquiry.may_stand(5, LAST, 10.05) is None
    assert inquiry.may_stand(5, LAST, 10.11) == question()


@given(members=st.integers(2, 9), grants=st.integers(0, 8))
def test_a_majority_of_fresh_grants_is_needed(members: int, grants: int) -> None:
    inquiry = Inquiry(lambda granted: 2 * (len(granted) + 1) > members, TIMING)
    for member in range(min(grants, members - 1)):
        inquiry.granted(member, 6, 10.0)
    majority = min(grants, members - 1) + 1 > members // 2
    assert (inquiry.may_stand(5, LAST, 11.0) is True) is majority
    assert inquiry.may_stand(5, LAST, 11.1) is not True  # Stale by now.
    assert inquiry.may_stand(6, LAST, 11.0) is not True  # For another term.
