"""What ``kubectl get events`` shows, of both APIs: their fields have different names. Pure."""

from __future__ import annotations

from typing import Any

from etl_operator.sandbox.http.printing.cells import Column, meta, text
from etl_operator.sandbox.http.printing.duration import age
from informers.objects import Object


def _event_object(event: Object, _: float) -> str:
    involved = event.get("involvedObject") or event.get("regarding") or {}
    return f"{str(involved.get('kind', '')).lower()}/{involved.get('name', '')}"


def _event_seen(event: Object, now: float) -> str:
    series = event.get("series") or {}
    moments = (
        series.get("lastObservedTime"),
        event.get("lastTimestamp") or event.get("deprecatedLastTimestamp"),
        event.get("eventTime"),
        meta(event).get("creationTimestamp"),
    )
    return age(next((moment for moment in moments if moment), None), now)


def _event_source(event: Object, _: float) -> str:
    source = event.get("source") or event.get("deprecatedSource") or {}
    parts = (
        source.get("component") or event.get("reportingComponent") or event.get("reportingController"),
        source.get("host") or event.get("reportingInstance"),
    )
    return ", ".join(part for part in parts if part)


def _event_part(event: Object, _: float) -> str:
    involved = event.get("involvedObject") or event.get("regarding") or {}
    return str(involved.get("fieldPath") or "")


def _event_first(event: Object, now: float) -> str:
    first = event.get("firstTimestamp") or event.get("deprecatedFirstTimestamp")
    return age(first or event.get("eventTime"), now)


def _event_count(event: Object, _: float) -> Any:
    series = event.get("series") or {}
    return series.get("count") or event.get("count") or event.get("deprecatedCount") or 1


def _event_message(event: Object, _: float) -> str:
    return str(event.get("message") or event.get("note") or "").strip()


EVENT = (
    Column("Last Seen", _event_seen),
    text("Type", "type"),
    text("Reason", "reason"),
    Column("Object", _event_object),
    Column("Subobject", _event_part, wide=True),
    Column("Source", _event_source, wide=True),
    Column("Message", _event_message),
    Column("First Seen", _event_first, wide=True),
    Column("Count", _event_count, wide=True),
    Column("Name", lambda obj, _: meta(obj)["name"], wide=True, format="name"),
)
"""The columns of an event."""
