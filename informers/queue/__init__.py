"""From many changes to one key at a time: deduplication, priorities, delays, back-off."""

from __future__ import annotations

from informers.queue.backoff import Backoff, ErrorClass, classify
from informers.queue.work import Entry, Priority, QueueClosed, Statistics, Work
from informers.queue.workqueue import WorkQueue

__all__ = [
    "Backoff",
    "Entry",
    "ErrorClass",
    "Priority",
    "QueueClosed",
    "Statistics",
    "Work",
    "WorkQueue",
    "classify",
]
