"""Reports of peers' suites: what counts, and what is wrong with a count."""

from __future__ import annotations

import json

import pytest

from e2e.peers.pins import SUITES, Suite
from e2e.peers.reports import Report, of_ginkgo, of_unittest


def spec(state: str, *texts: str, kind: str = "It") -> dict[str, object]:
    *containers, leaf = texts
    return {
        "State": state,
        "LeafNodeType": kind,
        "LeafNodeText": leaf,
        "ContainerHierarchyTexts": containers or None,
    }


def test_a_report_counts_what_passed_and_names_what_did_not() -> None:
    specs = [
        spec("passed", "", kind="BeforeSuite"),
        spec("passed", "Client", "Get", "finds"),
        spec("failed", "Client", "Get", "misses"),
        spec("timedout", "Client", "Watch", "hangs"),
        spec("pending", "Client", "later"),
        spec("skipped", "Client", "elsewhere"),
    ]
    report = of_ginkgo(json.dumps([{"SpecReports": specs}]))
    assert report == Report(1, ("Client Get misses", "Client Watch hangs"))


def test_a_suite_that_cannot_be_set_up_has_failed() -> None:
    report = of_ginkgo(json.dumps([{"SpecReports": [spec("failed", "", kind="BeforeSuite")]}]))
    assert report == Report(0, ("BeforeSuite",))
    assert of_ginkgo(json.dumps([{"SpecReports": None}])) == Report(0)


def test_a_report_of_unittest() -> None:
    assert of_unittest('{"passed": 3, "failed": ["b", "a"]}') == Report(3, ("a", "b"))


@pytest.mark.parametrize(
    ("report", "problem"),
    [
        (Report(5, ("known",)), ""),
        (Report(5, ("known", "new")), "failed: new"),
        (Report(6), "passes now, so the list of failures is wrong: known"),
        (Report(4, ("known",)), "4 tests passed where 5 are expected"),
        (Report(6, ("known",)), "6 tests passed where 5 are expected"),
    ],
)
def test_what_is_not_as_it_should_be_is_said(report: Report, problem: str) -> None:
    assert report.problem(Suite("x", "v1", "", 5, ("known",))) == problem


def test_suites_have_names_of_their_own() -> None:
    assert len({suite.name for suite in SUITES}) == len(SUITES)
    assert all(suite.passed > 0 for suite in SUITES)
