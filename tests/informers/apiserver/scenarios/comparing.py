"""Answers without what differs from run to run and from server to server."""

from __future__ import annotations

import re
from typing import Any

from informers.objects import Object

_IDENTITY = re.compile(
    r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    r'|(?<=\\":\\")\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ'
    r'|(?<=resourceVersion\\":\\")\d+'
)
_VOLATILE = ("uid", "resourceVersion", "creationTimestamp", "selfLink")
_CONTROLLERS = "kube-controller-manager"
_CONTROLLED = ("Deployment", "Job", "StatefulSet")
_WRITTEN_BY_CONTROLLERS = (
    "collisionCount",
    "conditions",
    "currentRevision",
    "observedGeneration",
    "startTime",
    "updateRevision",
)
_ASKER = ("username", "uid", "groups", "extra")
# Given by each server in its own way.
_GIVEN = ("clusterIP", "clusterIPs", "nodePort")


def comparable(code: int, answer: Any) -> Object:
    """An answer without what differs from run to run."""
    if code >= 400:
        details = answer.get("details") or {}
        causes = sorted(
            [
                [cause.get("reason"), cause.get("field"), _without_identity(cause.get("message") or "")]
                for cause in details.get("causes") or ()
            ],
            key=str,
        )
        message = _without_identity(answer["message"])
        if causes and code == 422:
            # The rest repeats the causes, in no promised order.
            message = message.partition(" is invalid: ")[0]
        return {"code": code, "reason": answer.get("reason") or "", "message": message, "causes": causes}
    if answer.get("kind") == "Status":
        return {"code": code}
    result = {key: value for key, value in answer.items() if key != "metadata"}
    metadata = {key: value for key, value in answer["metadata"].items() if key not in _VOLATILE}
    if "managedFields" in metadata:
        metadata["managedFields"] = [
            {key: value for key, value in entry.items() if key != "time"}
            for entry in metadata["managedFields"]
            if entry["manager"] != _CONTROLLERS
        ]
        # They are ordered by the second, which passes where it will.
        metadata["managedFields"].sort(key=lambda entry: (entry["operation"], entry["manager"]))
    if answer["kind"] == "CertificateSigningRequest":
        for name in _ASKER:
            result["spec"].pop(name, None)
    if answer["kind"] in _CONTROLLED:
        # Controllers of a real cluster may have been there between two steps.
        metadata.pop("annotations", None)
        status = result.get("status") or {}
        result["status"] = {key: value for key, value in status.items() if key not in _WRITTEN_BY_CONTROLLERS}
    return {"code": code, "object": _without_given({**result, "metadata": metadata})}


def _without_identity(message: str) -> str:
    """A sentence without what differs from run to run: identities, times, the order of findings."""
    first, *lines = message.split("\n")
    if first.endswith("errors:"):
        message = "\n".join([first, *sorted(lines)])
    return _IDENTITY.sub("…", message)


def _without_given(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_given(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _without_given(below)
        for key, below in value.items()
        if not (key in _GIVEN and below not in ("None", ["None"]))
    }
