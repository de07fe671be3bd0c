"""Errors of services."""

from __future__ import annotations


class StartError(Exception):
    """A service cannot start or continue; the text says why and what to do."""


class Unavailable(Exception):
    """A dependency of the service does not answer, as in an outage; the records are not the cause.

    Code of a service raises it. The router then sends the same batch again until it succeeds, and counts no
    record as failed.
    """
