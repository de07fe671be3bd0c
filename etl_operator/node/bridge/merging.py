"""What several workers say, as the word of one node. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from etl_operator.node.data import view


def summed(counters: Iterable[view.StageCounters]) -> view.StageCounters:
    """One stage in several places; the mean is weighted by calls."""
    every = list(counters)
    calls = sum(one.calls for one in every)
    return view.StageCounters(
        processed=sum(one.processed for one in every),
        buffered=sum(one.buffered for one in every),
        errors=sum(one.errors for one in every),
        average_ms=sum(one.average_ms * one.calls for one in every) / calls if calls else 0.0,
        calls=calls,
        call_seconds=sum(one.call_seconds for one in every),
        unanswered=sum(one.unanswered for one in every),
        broken=next((one.broken for one in every if one.broken), ""),
        # They all see the same buffer, some of them later than others.
        stored=max((one.stored for one in every), default=0),
    )


def report_of(
    applied: int, reports: Sequence[view.Report], gone: Mapping[str, view.PipelineReport]
) -> view.Report:
    """The report of a node.

    :param applied: what it has applied if no worker serves.
    :param gone: counters of workers that have ended.
    """
    if len(reports) == 1 and not gone:
        return reports[0]
    applied = min((report.applied for report in reports), default=applied)
    reports = [*reports, view.Report(applied, dict(gone))]
    ids = dict.fromkeys(pipeline_id for report in reports for pipeline_id in report.pipelines)
    return view.Report(
        applied=applied,
        pipelines={
            one: pipeline_of([report.pipelines[one] for report in reports if one in report.pipelines])
            for one in ids
        },
        credits=sum(report.credits for report in reports),
        pending_bytes=sum(report.pending_bytes for report in reports),
        streams=sum(report.streams for report in reports),
        buffer=next((report.buffer for report in reports if report.buffer), ""),
    )


def pipeline_of(reports: Sequence[view.PipelineReport]) -> view.PipelineReport:
    """One pipeline in several workers."""
    stages = dict.fromkeys(stage_id for report in reports for stage_id in report.stages)
    return view.PipelineReport(
        pending=sum(report.pending for report in reports),
        dead_letters=sum(report.dead_letters for report in reports),
        parked=sum(report.parked for report in reports),
        rejected=sum(report.rejected for report in reports),
        problem=next((report.problem for report in reports if report.problem), ""),
        stages={
            stage_id: summed(report.stages[stage_id] for report in reports if stage_id in report.stages)
            for stage_id in stages
        },
        buffer=next((report.buffer for report in reports if report.buffer), ""),
        uncertain=any(report.uncertain for report in reports),
    )


def counters_of(report: view.PipelineReport) -> view.PipelineReport:
    """What remains of a worker that has ended: its counters, and none of the records that it held."""
    return view.PipelineReport(
        pending=0,
        dead_letters=report.dead_letters,
        rejected=report.rejected,
        stages={
            stage_id: view.StageCounters(
                processed=stage.processed,
                errors=stage.errors,
                average_ms=stage.average_ms,
                calls=stage.calls,
                call_seconds=stage.call_seconds,
                unanswered=stage.unanswered,
            )
            for stage_id, stage in report.stages.items()
        },
    )


def progress_of(parts: Sequence[view.Progress]) -> view.Progress:
    """The furthest that any worker has come, and the first hole that any worker has."""
    offsets: dict[tuple[str, str, int], view.Offset] = {}
    marks: dict[tuple[str, int], view.Watermark] = {}
    holes: dict[tuple[str, str, int], view.Offset] = {}
    for part in parts:
        for hole in part.holes:
            where = (hole.pipeline_id, hole.source, hole.partition)
            if where not in holes or holes[where].position > hole.position:
                holes[where] = hole
        for offset in part.offsets:
            where = (offset.pipeline_id, offset.source, offset.partition)
            if where not in offsets or offsets[where].position < offset.position:
                offsets[where] = offset
        for mark in part.watermarks:
            key = (mark.source, mark.partition)
            if key not in marks or marks[key].position < mark.position:
                marks[key] = mark
    return view.Progress(list(offsets.values()), list(marks.values()), list(holes.values()))


def share_of(confirmed: view.Progress, own: view.Progress) -> view.Progress:
    """What a worker said itself of what has been committed."""
    reached = {(one.pipeline_id, one.source, one.partition): one.position for one in confirmed.offsets}
    marks = {(one.source, one.partition): one.position for one in confirmed.watermarks}
    return view.Progress(
        [
            one
            for one in own.offsets
            if one.position <= reached.get((one.pipeline_id, one.source, one.partition), -1)
        ],
        [one for one in own.watermarks if one.position <= marks.get((one.source, one.partition), -1)],
    )
