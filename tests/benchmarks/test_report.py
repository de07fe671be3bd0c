"""From figures to verdicts, tables and the plot."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from benchmarks.peers.programs import GO, KOPF, OURS, RUST
from benchmarks.plot import position, svg
from benchmarks.report import Report, as_json, table
from benchmarks.scenarios import Figures, keep_best
from benchmarks.targets import Verdict, add_growth, judge

FIGURES: Figures = {
    "sync_stream_us": {OURS: 10.0, GO: 60.0, RUST: 14.0, KOPF: 500.0},
    "sync_paged_us": {OURS: 11.0, GO: 30.0, RUST: 22.0, KOPF: 500.0},
    "ingest_us": {OURS: 10.0, GO: 60.0, RUST: 20.0},
    "steady_writes": {OURS: 0.0},
    "operator_rss_mib": {OURS: 300.0},
}


def report() -> Report:
    peers = {OURS: "(Python)", GO: "v1", RUST: "2", KOPF: "3"}
    return Report(FIGURES, judge(FIGURES), peers, {"other": "no compiler"}, ["one run"], {"mode": "test"})


def verdict(title: str, peer: str = "") -> Verdict:
    found = [one for one in judge(FIGURES) if one.target.title.startswith(title) and one.target.peer == peer]
    assert len(found) == 1
    return found[0].verdict


def test_targets_are_ratios_of_costs() -> None:
    assert verdict("cold sync", GO) is Verdict.HOLDS
    assert verdict("cold sync", RUST) is Verdict.HOLDS
    assert verdict("watch ingest", RUST) is Verdict.HOLDS
    assert verdict("watch ingest", GO) is Verdict.HOLDS


def test_against_kube_rs_its_better_list_counts() -> None:
    figures = {name: dict(values) for name, values in FIGURES.items()}
    figures["sync_stream_us"][RUST] = 12.0
    found = [one for one in judge(figures) if one.target.ours == "sync_stream_us" and one.target.peer == RUST]
    assert [(one.theirs, one.verdict) for one in found] == [(12.0, Verdict.FAILS)]


def test_a_missing_peer_is_no_success() -> None:
    assert verdict("watch ingest", KOPF) is Verdict.UNKNOWN
    assert verdict("memory per cached object", RUST) is Verdict.UNKNOWN


def test_absolute_targets() -> None:
    assert verdict("writes in 100 resyncs") is Verdict.HOLDS
    assert verdict("operator RSS") is Verdict.FAILS


@pytest.mark.parametrize(("last", "exponent"), [(100.0, 1.0), (1_000.0, 2.0), (10.0, 0.0)])
def test_growth_is_the_slope_between_the_last_two_sizes(last: float, exponent: float) -> None:
    figures: Figures = {
        "growth_sync_10": {OURS: 9.0},
        "growth_sync_100": {OURS: 10.0},
        "growth_sync_1000": {OURS: last},
    }
    add_growth(figures, (10, 100, 1_000))
    assert figures["growth_sync"][OURS] == pytest.approx(exponent)
    assert "growth_memory" not in figures


def test_the_best_repetition_counts() -> None:
    figures: Figures = {}
    for value in (3.0, 2.0, 4.0):
        keep_best(figures, OURS, {"a": value})
    keep_best(figures, GO, {"a": 7.0})
    assert figures == {"a": {OURS: 2.0, GO: 7.0}}


def test_the_table_names_everything_that_matters() -> None:
    text = table(report())
    assert "other was skipped: no compiler" in text
    assert "failed: one run" in text
    row = next(line for line in text.splitlines() if line.startswith("| cold sync, streaming list"))
    assert [cell.strip() for cell in row.split("|")[1:-1]] == [
        *("cold sync, streaming list, CPU per object", "µs", "10", "60", "6.00", "14", "1.40", "500", "50.00")
    ]
    assert "**FAILS**" in text


def test_the_json_has_figures_and_verdicts() -> None:
    document = json.loads(as_json(report()))
    assert document["figures"]["ingest_us"][GO] == 60.0
    assert {one["verdict"] for one in document["targets"]} == {"holds", "FAILS", "not measured"}
    assert document["skipped"] == {"other": "no compiler"}


def test_the_plot_is_well_formed_and_has_a_bar_for_every_figure() -> None:
    root = ElementTree.fromstring(svg(report()))  # noqa: S314 -- our own text
    bars = [one for one in root.iter("{http://www.w3.org/2000/svg}rect") if one.get("height") == "11"]
    assert len(bars) == 4 + 4 + 3


def test_the_scale_is_logarithmic_and_ends() -> None:
    assert position(10) - position(1) == pytest.approx(position(100) - position(10))
    assert position(1e6) == position(1e9)
    assert position(1e-6) == position(1e-9)
