"""``/healthz``, ``/livez`` and ``/readyz``: the server answers as soon as it listens, so it is healthy."""

from __future__ import annotations

from collections.abc import Mapping

from informers.apiserver.requests.routes import values

_ROOTS = frozenset({"healthz", "livez", "readyz"})
_CHECKS = ("ping",)


def is_health(path: str) -> bool:
    """Whether a path asks how the server is."""
    return path.strip("/").partition("/")[0] in _ROOTS


def report(path: str, query: Mapping[str, str]) -> str | None:
    """The text at a path; ``None`` where there is no such check.

    :param query: ``verbose`` lists the checks, ``exclude`` leaves some out.
    """
    root, _, check = path.strip("/").partition("/")
    if check:
        return "ok" if check in _CHECKS else None
    if "verbose" not in query:
        return "ok"
    excluded = set(values(query, "exclude"))
    lines = [f"[+]{name} excluded: ok" if name in excluded else f"[+]{name} ok" for name in _CHECKS]
    if unknown := sorted(excluded.difference(_CHECKS)):
        named = ", ".join(f'"{name}"' for name in unknown)
        lines.append(f"warn: some health checks cannot be excluded: no matches for {named}")
    return "\n".join([*lines, f"{root} check passed", ""])
