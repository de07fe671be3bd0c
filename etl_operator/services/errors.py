"""What goes wrong in a service."""

from __future__ import annotations


class StartError(Exception):
    """A service cannot start; the text says why and what to do."""


class Unavailable(Exception):
    """What a service works with does not answer, as in an outage: nothing is wrong with the records.

    Raised by authors. The router then sends the same batch again, for as long as it takes, and counts no
    record as failed.
    """
