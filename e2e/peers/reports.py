"""What a suite reports: counts, and the names of what failed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from e2e.peers.pins import Suite


@dataclass(frozen=True, slots=True)
class Report:
    """How a suite went.

    :param failed: names, in order.
    """

    passed: int
    failed: tuple[str, ...] = ()

    def problem(self, suite: Suite) -> str:
        """What is not as it should be; "" when all is."""
        unexpected = sorted(set(self.failed) - set(suite.failed))
        mended = sorted(set(suite.failed) - set(self.failed))
        said = [f"failed: {name}" for name in unexpected]
        said.extend(f"passes now, so the list of failures is wrong: {name}" for name in mended)
        if not said and self.passed != suite.passed:
            said.append(f"{self.passed} tests passed where {suite.passed} are expected")
        return "; ".join(said)


def of_ginkgo(text: str) -> Report:
    """The report of one Ginkgo suite, as ``--ginkgo.json-report`` writes it."""
    (suite,) = json.loads(text)
    leaves = [one for one in suite["SpecReports"] or () if one["LeafNodeType"] == "It"]
    passed = sum(one["State"] == "passed" for one in leaves)
    # A suite that could not be set up fails outside of its tests.
    others = [one for one in suite["SpecReports"] or () if one["LeafNodeType"] != "It"]
    failed = [one for one in (*leaves, *others) if one["State"] not in ("passed", "pending", "skipped")]
    return Report(passed, tuple(sorted(map(_name, failed))))


def _name(spec: Mapping[str, Any]) -> str:
    parts = [*(spec["ContainerHierarchyTexts"] or ()), spec["LeafNodeText"] or spec["LeafNodeType"]]
    return " ".join(parts)


def of_unittest(text: str) -> Report:
    """The report that :mod:`e2e.peers.official_client` writes."""
    found = json.loads(text)
    return Report(found["passed"], tuple(sorted(found["failed"])))
