"""The part of JSONPath that printer columns use."""

from __future__ import annotations

from typing import Any

import pytest

from etl_operator.sandbox.http.printing.jsonpath import PathError, find


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".spec.replicas", [3]),
        ("spec.replicas", [3]),
        ("{.spec.replicas}", [3]),
        (".spec.none.deeper", []),
        (".items[*].n", [1, 2]),
        (".items[0].n", [1]),
        (".items[-1].n", [2]),
        ('.items[?(@.kind=="b")].n', [2]),
        (".metadata.annotations.a\\.b/c", ["dotted"]),
        (".metadata.annotations['a.b/c']", ["dotted"]),
    ],
)
def test_json_paths(path: str, found: list[Any]) -> None:
    value = {
        "spec": {"replicas": 3},
        "items": [{"n": 1, "kind": "a"}, {"n": 2, "kind": "b"}],
        "metadata": {"annotations": {"a.b/c": "dotted"}},
    }
    assert find(path, value) == found


@pytest.mark.parametrize("path", [".a[", ".a[?(@.b>1)]", ".a..b"])
def test_unsupported_paths_are_refused(path: str) -> None:
    with pytest.raises(PathError):
        find(path, {"a": {}})
