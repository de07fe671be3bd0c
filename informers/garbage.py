"""The garbage collector, and what it need not look at."""

from __future__ import annotations

import gc


def freeze() -> None:
    """Take everything alive now out of the collector's sight, garbage first.

    For the moments when much has come to stay: after imports, and after caches have filled. Modules are a
    hundred thousand objects and more; a full collection without them takes milliseconds and not a tenth of
    a second. What is frozen is still freed by its reference count; only a cycle of it would stay for good.
    """
    gc.collect()
    gc.freeze()
