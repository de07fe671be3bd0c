"""What several workers say, as the word of one node."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from etl_operator.node.bridge import merging
from etl_operator.node.data.view import (
    Offset,
    PipelineReport,
    Progress,
    Report,
    StageCounters,
    Watermark,
)

numbers = st.integers(0, 1000)
stages = st.builds(StageCounters, numbers, numbers, numbers, st.just(2.0), numbers, st.just(1.5), numbers)
pipelines = st.builds(
    PipelineReport,
    pending=numbers,
    dead_letters=numbers,
    parked=numbers,
    rejected=numbers,
    stages=st.dictionaries(st.sampled_from("xyz"), stages),
)
reports = st.builds(
    Report, numbers, st.dictionaries(st.sampled_from("ab"), pipelines), numbers, numbers, numbers
)
offsets = st.builds(Offset, st.sampled_from("ab"), st.sampled_from("st"), st.integers(0, 2), numbers)
marks = st.builds(Watermark, st.sampled_from("st"), st.integers(0, 2), numbers)


def one_each(rows: list[Offset]) -> list[Offset]:
    """A worker names a partition once."""
    return list({(row.pipeline_id, row.source, row.partition): row for row in rows}.values())


def marks_each(rows: list[Watermark]) -> list[Watermark]:
    return list({(row.source, row.partition): row for row in rows}.values())


progress = st.builds(
    Progress,
    st.lists(offsets).map(one_each),
    st.lists(marks).map(marks_each),
    st.lists(offsets).map(one_each),
)


@given(st.lists(reports, max_size=3), st.dictionaries(st.sampled_from("ab"), pipelines))
def test_a_node_holds_what_its_workers_hold(parts: list[Report], gone: dict[str, PipelineReport]) -> None:
    ended = {key: merging.counters_of(value) for key, value in gone.items()}
    whole = merging.report_of(7, parts, ended)
    # What one of them has not applied is not applied.
    assert whole.applied == min((part.applied for part in parts), default=7)
    assert whole.streams == sum(part.streams for part in parts)
    for key, found in whole.pipelines.items():
        living = [part.pipelines[key] for part in parts if key in part.pipelines]
        # A worker that has ended holds nothing, and what it counted is kept.
        assert found.pending == sum(one.pending for one in living)
        assert found.parked == sum(one.parked for one in living)
        ever = [*living, *([gone[key]] if key in gone else [])]
        assert found.dead_letters == sum(one.dead_letters for one in ever)
        for stage_id, stage in found.stages.items():
            assert stage.buffered == sum(
                one.stages[stage_id].buffered for one in living if stage_id in one.stages
            )
            assert stage.processed == sum(
                one.stages[stage_id].processed for one in ever if stage_id in one.stages
            )
    assert whole.pipelines.keys() == {key for part in parts for key in part.pipelines} | gone.keys()


@given(st.lists(progress, max_size=3))
def test_progress_is_the_furthest_and_each_worker_gets_back_its_own(parts: list[Progress]) -> None:
    whole = merging.progress_of(parts)
    for part in parts:
        assert all(
            any(
                (one.pipeline_id, one.source, one.partition) == (own.pipeline_id, own.source, own.partition)
                and one.position >= own.position
                for one in whole.offsets
            )
            for own in part.offsets
        )
        # So that nobody says again what is committed already.
        assert merging.share_of(whole, part) == Progress(part.offsets, part.watermarks)
        assert merging.share_of(Progress(), part) == Progress()
    said = [row for part in parts for row in part.offsets]
    assert all(row in said for row in whole.offsets)
    assert len(whole.offsets) == len({(row.pipeline_id, row.source, row.partition) for row in said})
    # What fills the first hole of a partition may fill others of it.
    lowest: dict[tuple[str, str, int], int] = {}
    for row in (row for part in parts for row in part.holes):
        where = (row.pipeline_id, row.source, row.partition)
        lowest[where] = min(row.position, lowest.get(where, row.position))
    assert {(row.pipeline_id, row.source, row.partition): row.position for row in whole.holes} == lowest


def test_a_position_above_what_was_committed_is_not_confirmed() -> None:
    """A worker whose answer was missed may have got further than what was committed."""
    committed = Progress([Offset("p", "s", 0, 3)], [])
    assert merging.share_of(committed, Progress([Offset("p", "s", 0, 5)], [])) == Progress()
    assert merging.share_of(committed, Progress([Offset("p", "s", 0, 2)], [])).offsets[0].position == 2
