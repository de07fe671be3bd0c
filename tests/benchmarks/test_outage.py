"""The benchmark of a dead sink, for a moment."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from benchmarks.outage import MOST_MIB, Result, measure


async def test_an_outage_loses_nothing_and_its_memory_is_seen(tmp_path: Path) -> None:
    result = await measure(1.0, tmp_path)
    assert (result.lost, result.duplicates, result.dead_letters) == (0, 0, 0)
    assert (result.restarts, result.streams_ended) == (0, 0)
    assert result.held > 0
    assert result.records > result.held
    assert min(result.most_control_mib, result.most_worker_mib) > 0
    assert result.most_mib >= max(result.most_control_mib, result.most_worker_mib)


def test_each_broken_promise_fails() -> None:
    good = Result(most_mib=MOST_MIB)
    assert good.holds
    assert good.table().endswith("holds\n")
    for wrong in ({"most_mib": MOST_MIB + 1}, {"lost": 1}, {"restarts": 1.0}, {"dead_letters": 1.0}):
        assert not dataclasses.replace(good, **wrong).holds
    assert dataclasses.replace(good, streams_ended=1).table().endswith("fails\n")
