"""What the nodes' answers mean together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controllers.cluster.status import quorum_verdict
from controllers.members.facts import NodeFacts, judge


def node(ordinal: int, leader: int, *, term: int = 5, commit: int = 100) -> NodeFacts:
    return NodeFacts(
        ordinal,
        f"a-{ordinal}:1",
        node_id=ordinal + 1,
        leader_id=leader,
        term=term,
        commit_index=commit,
        match={1: 100, 2: 90, 3: 80},
        answered=True,
    )


def down(ordinal: int, error: str = "connection refused") -> NodeFacts:
    return NodeFacts(ordinal, f"a-{ordinal}:1", error=error)


def test_all_follow_one_leader() -> None:
    consensus = judge([node(0, 2), node(1, 2), node(2, 2)], 3)
    assert (consensus.leader_id, consensus.term, consensus.commit_index) == (2, 5, 100)
    assert consensus.complete
    assert consensus.health == "Healthy"
    assert consensus.roles == {1: "Follower", 2: "Leader", 3: "Follower"}


def test_a_majority_is_enough_to_serve() -> None:
    consensus = judge([node(0, 1), node(1, 1), down(2)], 3)
    assert consensus.quorate
    assert not consensus.complete
    assert consensus.health == "Degraded"


def test_who_is_no_voter_yet_makes_no_majority() -> None:
    # The leader counts three members; the fourth is about to join and follows it.
    nodes = [replace(node(0, 1), members=3), down(1), down(2), node(3, 1)]
    consensus = judge(nodes, 4)
    assert consensus.following == {1, 4}
    assert not consensus.quorate
    assert judge([*nodes[:2], replace(node(2, 1), members=3), nodes[3]], 4).quorate


def test_a_leader_that_does_not_answer_is_none() -> None:
    consensus = judge([down(0), node(1, 1), node(2, 1)], 3)
    assert consensus.leader_id == 0
    assert not consensus.quorate
    assert quorum_verdict(consensus)[1] == "NoLeader"


def test_a_leader_of_an_older_term_has_not_heard_yet() -> None:
    consensus = judge([node(0, 1, term=4), node(1, 2), node(2, 2)], 3)
    assert consensus.leader_id == 2
    assert consensus.split == ()
    assert consensus.health == "Degraded"


def test_two_leaders_in_one_term_are_a_split_brain() -> None:
    consensus = judge([node(0, 1), node(1, 2), node(2, 2)], 3)
    assert consensus.split == (1, 2)
    assert consensus.leader_id == 0
    assert not consensus.quorate
    assert quorum_verdict(consensus)[:2] == (False, "SplitBrain")


def test_followers_that_disagree_are_only_an_election() -> None:
    consensus = judge([node(0, 1), node(1, 1), node(2, 3, term=4)], 3)
    # Node 3 claims an older term: it will learn.
    assert consensus.split == ()
    assert consensus.leader_id == 1


def test_a_minority_is_not_enough() -> None:
    consensus = judge([node(0, 1), down(1), down(2)], 3)
    assert quorum_verdict(consensus)[:2] == (False, "QuorumLost")
    assert consensus.health == "Unhealthy"


def test_nobody_asked_is_not_the_same_as_nobody_answering() -> None:
    assert judge([], 3).health == "Unknown"
    assert quorum_verdict(judge([], 3))[0] is None
    silent = judge([down(0), down(1)], 3)
    assert silent.health == "Unhealthy"
    assert quorum_verdict(silent)[:2] == (False, "ClusterUnreachable")


def test_a_router_without_admin_is_explained() -> None:
    bare = replace(down(0, "UNIMPLEMENTED"), unimplemented=True)
    status, reason, message = quorum_verdict(judge([bare], 1))
    assert (status, reason) == (None, "RouterAdminUnavailable")
    assert "UNIMPLEMENTED" in message


@pytest.mark.parametrize(("answers", "expected"), [(80, 80), (95, 95)])
def test_progress_is_a_members_own_word_or_the_leaders(answers: int, expected: int) -> None:
    consensus = judge([node(0, 1), node(1, 1), node(2, 1, commit=answers)], 3)
    assert consensus.match[3] == expected
