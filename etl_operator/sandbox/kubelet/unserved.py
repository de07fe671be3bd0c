"""What a pod may ask of a node and this one has not: other runtimes, devices."""

from __future__ import annotations

from informers.objects import Object


def unserved(spec: Object) -> str | None:
    """Why a pod cannot run here, in a sentence for its author; ``None`` when nothing is in its way.

    :param spec: of the pod.
    """
    runtime = spec.get("runtimeClassName")
    if runtime:
        return f'RuntimeClass "{runtime}": not supported by the process node; remove runtimeClassName'
    claims = [str(one.get("name")) for one in spec.get("resourceClaims") or ()]
    if claims:
        return (
            f"resource claims {', '.join(claims)}: not supported by the process node; remove resourceClaims"
        )
    return None
