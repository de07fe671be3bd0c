"""Restarts keep the quorum and take the leader last, whatever the leader does meanwhile."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.cluster.children import tolerable
from controllers.cluster.rollout import MAX_LAG, Restart, joining, next_restart, plan_members
from controllers.members.facts import Consensus, NodeFacts, PodFacts, judge, quorum

OLD, NEW = "rev-1", "rev-2"


def pod(ordinal: int, revision: str = OLD, **changes: object) -> PodFacts:
    base = PodFacts(f"c-{ordinal}", ordinal, f"uid-{ordinal}", True, True, False, revision, 3)
    return replace(base, **changes)  # type: ignore[arg-type]


def led_by(leader: int, members: int, away: frozenset[int] = frozenset(), lag: int = 0) -> Consensus:
    nodes = [
        NodeFacts(i, f"c-{i}:1", i + 1, leader, 7, 1000 - (lag if i + 1 != leader else 0), answered=True)
        for i in range(members)
        if i + 1 not in away
    ]
    return judge(nodes, members)


def test_nothing_outdated_means_nothing_to_do() -> None:
    step = next_restart([pod(0, NEW), pod(1, NEW)], led_by(1, 2), NEW, 2)
    assert (step.pod, step.blocked) == (None, "")


def test_followers_go_first_from_the_highest_ordinal() -> None:
    step = next_restart([pod(i) for i in range(3)], led_by(3, 3), NEW, 3)
    assert step.pod is not None
    assert step.pod.name == "c-1"


def test_the_leader_goes_last() -> None:
    pods = [pod(0, NEW), pod(1), pod(2, NEW)]
    step = next_restart(pods, led_by(2, 3), NEW, 3)
    assert step.pod is not None
    assert step.pod.name == "c-1"


@pytest.mark.parametrize(
    ("revision", "change"),
    [
        (NEW, {"terminating": True, "ready": False}),
        (OLD, {"terminating": True, "ready": False}),
        (NEW, {"ready": False}),
    ],
)
def test_one_at_a_time(revision: str, change: dict[str, object]) -> None:
    pods = [pod(0), pod(1), pod(2, revision, **change)]
    step = next_restart(pods, led_by(1, 3), NEW, 3)
    assert step.pod is None
    assert step.blocked


def test_a_missing_pod_blocks() -> None:
    assert next_restart([pod(0), pod(1)], led_by(1, 3), NEW, 3).blocked == "a pod is still being replaced"


def test_without_a_leader_nothing_moves() -> None:
    step = next_restart([pod(i) for i in range(3)], judge([], 3), NEW, 3)
    assert step.blocked == "there is no leader"


def test_a_split_brain_blocks() -> None:
    torn = judge(
        [NodeFacts(i, "", i + 1, leader, 7, 5, answered=True) for i, leader in enumerate((1, 2, 2))], 3
    )
    assert "two members report" in next_restart([pod(i) for i in range(3)], torn, NEW, 3).blocked


def test_members_that_lag_block() -> None:
    pods = [pod(i) for i in range(3)]
    assert next_restart(pods, led_by(1, 3, lag=MAX_LAG), NEW, 3).pod is not None
    step = next_restart(pods, led_by(1, 3, lag=MAX_LAG + 1), NEW, 3)
    assert step.pod is None
    assert "caught up" in step.blocked


def test_a_crashing_pod_of_the_old_template_is_replaced_whatever_the_others_do() -> None:
    # The way out of a broken image: nothing is lost by restarting what does not run.
    pods = [pod(i, ready=False, running=False) for i in range(3)]
    step = next_restart(pods, judge([], 3), NEW, 3)
    assert step.pod is not None


def test_a_lone_member_may_go() -> None:
    assert next_restart([pod(0)], led_by(1, 1), NEW, 1).pod is not None


def test_a_pair_needs_the_other_to_have_caught_up() -> None:
    pods = [pod(0), pod(1)]
    assert next_restart(pods, led_by(1, 2), NEW, 2).pod is not None
    assert next_restart(pods, led_by(1, 2, away=frozenset({2})), NEW, 2).pod is not None
    behind = next_restart(pods, led_by(2, 2, away=frozenset({1})), NEW, 2)
    # The follower that lost touch goes first: the leader alone keeps what was acknowledged.
    assert behind.pod is not None
    assert behind.pod.name == "c-0"


def test_an_unseen_revision_blocks_nothing_and_moves_nothing() -> None:
    step = next_restart([pod(0)], led_by(1, 1), "", 1)
    assert (step.pod, step.blocked) == (None, "")


def test_a_member_that_joins_need_not_be_ready_but_must_run() -> None:
    pods = [*(pod(i, members=3) for i in range(3)), pod(3, NEW, members=4, ready=False)]
    assert joining(pods, NEW) == {"c-3"}
    assert next_restart(pods, led_by(1, 4, away=frozenset({4})), NEW, 4).pod is not None
    stuck = [*pods[:3], pod(3, NEW, members=4, ready=False, running=False)]
    assert next_restart(stuck, led_by(1, 4, away=frozenset({4})), NEW, 4).blocked


class Roll:
    """Members that are replaced, elect, fall behind and come back, as one roll meets them."""

    def __init__(self, members: int, old: set[int]) -> None:
        self.pods = {i: pod(i, OLD if i in old else NEW, members=members) for i in range(members)}
        self.leader = 1
        self.away: dict[int, int] = {}
        """Ordinals that do not answer or have not caught up, with the looks until they do."""
        self.replaced: dict[int, int] = {}
        """Ordinals whose new pod is not ready, with the looks until it is."""

    def look(self) -> Restart:
        """What the controller would do now."""
        for waits in (self.away, self.replaced):
            for ordinal in list(waits):
                waits[ordinal] -= 1
                if not waits[ordinal]:
                    del waits[ordinal]
        shown = [
            replace(one, ready=i not in self.replaced, terminating=i in self.replaced and i % 2 == 0)
            for i, one in self.pods.items()
        ]
        return next_restart(shown, self.consensus(), NEW, len(self.pods))

    def consensus(self) -> Consensus:
        gone = {i + 1 for i in self.replaced}
        nodes = [
            NodeFacts(i, f"c-{i}:1", i + 1, self.leader, 7, 500 if i in self.away else 1000, answered=True)
            for i in self.pods
            if i + 1 not in gone
        ]
        return judge(nodes, len(self.pods))

    def serving(self, besides: int) -> int:
        """Members that are ready and hold what was acknowledged, but for one."""
        return len(self.pods.keys() - self.replaced.keys() - self.away.keys() - {besides})

    def restart(self, ordinal: int, looks: int) -> None:
        """The pod goes, and its successor is ready after some looks; a leader hands over."""
        self.pods[ordinal] = replace(self.pods[ordinal], revision=NEW)
        self.replaced[ordinal] = looks
        self.away.pop(ordinal, None)
        others = sorted(self.pods.keys() - self.replaced.keys() - self.away.keys())
        if self.leader == ordinal + 1 and others:
            self.leader = others[looks % len(others)] + 1


@given(members=st.integers(1, 9), old=st.sets(st.integers(0, 8)), data=st.data())
def test_every_rollout_ends_keeps_the_quorum_and_takes_the_leader_last(
    members: int, old: set[int], data: st.DataObject
) -> None:
    roll = Roll(members, old)
    for look in range(40 * members):
        # Whatever disturbs a roll is over some time; a leader that moves is in the way of nobody.
        if look < 3 * members and data.draw(st.booleans()):
            lagging = data.draw(st.integers(0, members - 1))
            if lagging + 1 != roll.leader:
                roll.away[lagging] = data.draw(st.integers(1, 4))
        elif roll.leader - 1 not in roll.replaced:
            well = sorted(roll.pods.keys() - roll.replaced.keys() - roll.away.keys())
            roll.leader = data.draw(st.sampled_from(well)) + 1 if well else roll.leader
        step = roll.look()
        if step.pod is None:
            continue
        ordinal = step.pod.ordinal
        assert not roll.replaced, "one at a time"
        if members > 2:
            assert roll.serving(besides=ordinal) >= quorum(members)
        elif members == 2:
            assert roll.serving(besides=ordinal) == 1
        left = [one for one in roll.pods.values() if one.revision == OLD and one.ordinal != ordinal]
        assert not (left and ordinal + 1 == roll.leader), "the leader goes last"
        roll.restart(ordinal, data.draw(st.integers(1, 4)))
    assert all(one.revision == NEW for one in roll.pods.values())


@given(wanted=st.integers(1, 15), live=st.integers(1, 15), settled=st.booleans())
def test_members_grow_by_one_and_never_shrink(wanted: int, live: int, settled: bool) -> None:
    plan = plan_members(wanted, live, settled)
    assert live <= plan.target <= live + 1
    assert plan.refused == (wanted < live)
    if plan.target > live:
        assert settled
        assert wanted > live


def test_a_new_cluster_starts_at_full_size() -> None:
    assert plan_members(5, None, settled=False).target == 5


@given(st.integers(1, 15))
def test_majorities_of_neighbouring_sizes_overlap(members: int) -> None:
    assert quorum(members) + quorum(members + 1) > members + 1


@given(st.integers(3, 15))
def test_an_eviction_budget_never_costs_the_quorum(members: int) -> None:
    assert members - tolerable(members) >= quorum(members)
