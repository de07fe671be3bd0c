"""A transform whose records say what to do with them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from etl_operator.services import Record, Transform, Unavailable, decode, encode, run


class Obedient(Transform):
    """Does what records say."""

    max_batch_size = 500
    record_types = ("event",)

    def process(self, record: Record) -> Record | Iterable[Record] | None:
        what = decode(record)
        if what == "boom":
            1 / 0  # noqa: B018
        if what == "outage":
            raise Unavailable("the lookup does not answer")
        if what == "text":
            return "not a record"  # type: ignore[return-value]
        if what == "same":
            return [record, record]
        if what == "two":
            again = Record(record_type="again")
            encode(again, "two again")
            return [record, again]
        if what.startswith("wait "):
            while not Path(what.removeprefix("wait ")).exists():
                time.sleep(0.01)
            return record
        return None


if __name__ == "__main__":
    run(Obedient)
