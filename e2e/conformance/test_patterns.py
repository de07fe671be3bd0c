"""Patterns in schemas: which are taken, what is said of the others, and what they match.

What is expected comes from the embedded server's own engine, so on a real one this compares RE2 with Go.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence

from informers.apiserver.schema.patterns import PatternError, compiled
from informers.client import HttpTransport
from informers.client.transport import HttpRequest
from informers.objects import Object
from tests.definitions import definition, with_spec
from tests.informers.apiserver.schema.test_patterns import REFUSED, TAKEN

_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_ATOMS = (
    *("a", "b", ".", "-", "^", "$", "\\d", "\\w", "\\s", "\\b", "\\p{Lu}", "\\pN", "[a-c]", "[^a]"),
    *("[[:alpha:]]", "[\\d-]", "[]a]", "\\Qa.\\E", "(?:ab)", "(a|b)", "(?P<n>a)", "\\x{e9}", "\\x41"),
    *("\\.", "\\n", "(?i)", "(?s)"),
)  # fmt: skip
_ENDS = (
    *("", "", "", "*", "+", "?", "{2}", "{1,3}", "{2,}", "*?", "+?", "|", "{,3}", "++"),
    *("(", ")", "[", "\\", "\\1"),
)
_TEXTS = (
    "",
    "a",
    "b",
    "ab",
    "aab",
    "ABC",
    "a.b",
    "a-b",
    "é",
    "É",
    "1a",
    "٣",
    "a\nb",
    "$^",
    "{,3}",
    "abcabc",
    "\\",
)


def _random_patterns(count: int) -> list[str]:
    rng = random.Random(20_261_130)
    return [
        "".join(rng.choice(_ATOMS) + rng.choice(_ENDS) for _ in range(rng.randint(1, 4)))
        for _ in range(count)
    ]


def _definition(patterns: Sequence[str], name: str = "patterns") -> Object:
    fields = {f"f{n}": {"type": "string", "pattern": pattern} for n, pattern in enumerate(patterns)}
    names = {"plural": name, "singular": name[:-1]}
    return definition(
        "Pattern", "patterns.test", with_spec({"type": "object", "properties": fields}), names=names
    )


async def _ask(
    transport: HttpTransport, path: str, body: Object, *, dry_run: bool = True
) -> tuple[int, Object]:
    query = (("dryRun", "All"),) if dry_run else ()
    request = HttpRequest("POST", path, query, json.dumps(body).encode(), "application/json")
    answer = await transport.request(request)
    return answer.status, json.loads(answer.body)


async def test_the_same_patterns_are_refused_in_the_same_words(transport: HttpTransport) -> None:
    patterns = [*REFUSED, *TAKEN, *_random_patterns(300)]
    wanted = {}
    for number, pattern in enumerate(patterns):
        try:
            compiled(pattern)
        except PatternError as error:
            wanted[number] = str(error)
    assert len(wanted) > len(REFUSED), "the random ones are no test of refusals"
    status, said = await _ask(transport, _DEFINITIONS, _definition(patterns))
    assert status == 422
    found = {}
    for cause in said["details"]["causes"]:
        _, _, words = cause["message"].partition("error parsing regexp: ")
        found[int(cause["field"].partition("[f")[2].partition("]")[0])] = words
    assert {patterns[n]: words for n, words in found.items()} == {
        patterns[n]: words for n, words in wanted.items()
    }


async def test_patterns_match_the_same_texts(transport: HttpTransport) -> None:
    good = []
    for pattern in [*TAKEN, *_random_patterns(300)]:
        try:
            good.append((pattern, compiled(pattern)))
        except PatternError:
            continue
    definition = _definition([pattern for pattern, _ in good])
    name = definition["metadata"]["name"]
    assert (await _ask(transport, _DEFINITIONS, definition, dry_run=False))[0] == 201
    try:
        path = "/apis/patterns.test/v1/namespaces/default/patterns"
        while (await transport.request(HttpRequest("GET", path))).status != 200:
            pass
        for text in _TEXTS:
            spec = {f"f{number}": text for number in range(len(good))}
            obj = {
                "apiVersion": "patterns.test/v1",
                "kind": "Pattern",
                "metadata": {"name": "x"},
                "spec": spec,
            }
            status, said = await _ask(transport, path, obj)
            assert status == 422
            failed = {int(cause["field"].removeprefix("spec.f")) for cause in said["details"]["causes"]}
            assert {good[number][0] for number in failed} == {
                pattern for pattern, made in good if not made.search(text)
            }, repr(text)
    finally:
        await transport.request(HttpRequest("DELETE", f"{_DEFINITIONS}/{name}"))
