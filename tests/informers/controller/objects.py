"""Objects and views for tests."""

from __future__ import annotations

import copy
from typing import Any

from informers.objects import Object, Resource
from informers.views.view import View, view_of_object

WIDGET = Resource("example.com", "v1", "widgets", "Widget")


def widget(name: str = "w", **metadata: Any) -> Object:
    """An object with sensible metadata; ``metadata`` overrides."""
    meta = {
        "namespace": "default",
        "name": name,
        "uid": f"uid-{name}",
        "resourceVersion": "1",
        "generation": 1,
        "creationTimestamp": "2027-01-15T08:00:00Z",
        **metadata,
    }
    return {"apiVersion": WIDGET.api_version, "kind": WIDGET.kind, "metadata": meta}


def view(obj: Object) -> View:
    """The view of an object."""
    found = view_of_object(copy.deepcopy(obj))
    assert found is not None
    return found
