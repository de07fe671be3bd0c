"""The label that says which cluster an object belongs to."""

from __future__ import annotations

from informers.objects import ObjectKey
from informers.views.view import View

CLUSTER_LABEL = "etl.router/cluster"


def labelled_cluster(view: View) -> ObjectKey | None:
    """The cluster that the label names, in the namespace of the object; ``None`` without the label."""
    name = view.labels.get(CLUSTER_LABEL)
    return ObjectKey(view.key.namespace, name) if name else None
