"""Revisions of a StatefulSet's pod template. Pure.

A revision's name is its template's fingerprint, so that the same template always has the same name,
whoever computes it; a ControllerRevision object keeps the template itself, for pods that must come back
as they were while a rolling update is under way.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from etl_operator.sandbox.loops.kinds import CONTROLLER_REVISION
from etl_operator.sandbox.loops.pods import controller_uid, is_orphan
from informers.objects import Object

LABEL = "controller-revision-hash"
_DEFAULT_HISTORY = 10
# No vowels and nothing that looks like another: a fingerprint must not spell anything.
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


@dataclass(frozen=True, slots=True)
class Revision:
    """A pod template and its name, which pods carry as a label."""

    name: str
    template: Mapping[str, Any]


def revision_of(stateful_set: Object) -> Revision:
    """The revision of the template in the spec."""
    template = stateful_set["spec"]["template"]
    return Revision(f"{stateful_set['metadata']['name']}-{fingerprint(template)}", template)


def fingerprint(template: Mapping[str, Any], salt: str = "") -> str:
    """Ten letters and digits that stand for a pod template.

    :param salt: gives the same template another fingerprint.
    """
    text = json.dumps(template, sort_keys=True, separators=(",", ":")) + salt
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    digits = []
    for _ in range(10):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(digits)


def known_revisions(stateful_set: Object, stored: Iterable[Object]) -> dict[str, Revision]:
    """Revisions by name: the stored ones of this set, and the one in its spec."""
    uid = stateful_set["metadata"]["uid"]
    found = {
        obj["metadata"]["name"]: Revision(obj["metadata"]["name"], obj["data"]["spec"]["template"])
        for obj in stored
        if controller_uid(obj) == uid
    }
    current = revision_of(stateful_set)
    return {**found, current.name: current}


def stored_revision(
    stateful_set: Object, stored: Sequence[Object], owner: Mapping[str, Any]
) -> Object | None:
    """The ControllerRevision to create, or to renumber, so that the spec's template is the newest.

    ``None`` when it already is. A template someone went back to keeps its object and gets a new number;
    one that a deleted set of the same name has left behind gets this owner.
    """
    revision = revision_of(stateful_set)
    for obj in stored:
        if obj["metadata"]["name"] == revision.name and is_orphan(obj):
            return {**obj, "metadata": {**obj["metadata"], "ownerReferences": [dict(owner)]}}
    own = [obj for obj in stored if controller_uid(obj) == stateful_set["metadata"]["uid"]]
    newest = max((obj["revision"] for obj in own), default=0)
    for obj in own:
        if obj["metadata"]["name"] == revision.name:
            return None if obj["revision"] == newest else {**obj, "revision": newest + 1}
    return {
        "apiVersion": CONTROLLER_REVISION.api_version,
        "kind": CONTROLLER_REVISION.kind,
        "metadata": {
            "name": revision.name,
            "namespace": stateful_set["metadata"]["namespace"],
            "labels": {**_labels(revision.template), LABEL: revision.name},
            "ownerReferences": [dict(owner)],
        },
        "data": {"spec": {"template": dict(revision.template)}},
        "revision": newest + 1,
    }


def surplus_revisions(stateful_set: Object, stored: Iterable[Object], used: set[str]) -> list[Object]:
    """The oldest stored revisions beyond ``revisionHistoryLimit`` that nothing uses."""
    limit = stateful_set["spec"].get("revisionHistoryLimit")
    own = [
        obj
        for obj in stored
        if controller_uid(obj) == stateful_set["metadata"]["uid"] and obj["metadata"]["name"] not in used
    ]
    keep = _DEFAULT_HISTORY if limit is None else limit
    return sorted(own, key=lambda obj: int(obj["revision"]))[: max(0, len(own) - keep)]


def _labels(template: Mapping[str, Any]) -> dict[str, str]:
    return dict((template.get("metadata") or {}).get("labels") or {})
