"""Requests that are about an object but not for its storage: logs, tokens, and what is refused."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Mapping
from typing import Protocol

from aiohttp import web

from etl_operator.sandbox.http.access.reviews import token_request
from etl_operator.sandbox.http.access.tokens import Tokens
from informers.apiserver.errors import StatusError
from informers.apiserver.requests.parameters import number_of
from informers.apiserver.requests.routes import flag
from informers.clock import timestamp
from informers.objects import Object

_REFUSED = frozenset({"exec", "attach", "portforward", "proxy", "ephemeralcontainers", "resize"})
_UNSERVED = {"sinceSeconds": "", "sinceTime": "", "limitBytes": "", "timestamps": "false", "stream": "All"}
"""Parameters of logs that change the answer and are not served, with the value that changes nothing."""


class Logs(Protocol):
    """Reads the output of a container; whoever runs the containers provides it."""

    def __call__(
        self, namespace: str, pod: str, container: str, *, follow: bool, tail: int | None, previous: bool
    ) -> AsyncGenerator[bytes, None]: ...


def refuse_unserved(subresource: str) -> None:
    """:raises StatusError: 501 for subresources that need a container runtime."""
    if subresource in _REFUSED:
        raise StatusError(
            501, "NotImplemented", f"the sandbox does not support {subresource}: it has no container runtime"
        )


def issue_token(tokens: Tokens, account: Object, body: Object) -> Object:
    """``POST serviceaccounts/<name>/token``."""
    return token_request(tokens, account, body, timestamp)


async def stream_logs(
    request: web.BaseRequest, pod: Object, query: Mapping[str, str], logs: Logs | None
) -> web.StreamResponse:
    """``GET pods/<name>/log``.

    :raises StatusError: 400 for parameters that are not served, or a container that is not there.
    """
    unserved = [name for name, harmless in _UNSERVED.items() if query.get(name, harmless) != harmless]
    if unserved:
        raise StatusError(
            400, "BadRequest", f"the sandbox does not support the parameters {', '.join(unserved)} of logs"
        )
    if logs is None:
        raise StatusError(501, "NotImplemented", "logs are not available: this control plane has no node")
    metadata = pod["metadata"]
    tail = number_of(query, "tailLines")
    if tail is not None and tail < 0:
        raise StatusError(400, "BadRequest", f"tailLines must be greater than or equal to 0, not {tail}")
    container = _container(pod, query.get("container", ""))
    previous = bool(flag(query, "previous"))
    _refuse_before_start(pod, container, previous=previous)
    lines = logs(
        metadata["namespace"],
        metadata["name"],
        container,
        follow=bool(flag(query, "follow")),
        tail=tail,
        previous=previous,
    )
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    # A reader that hangs up ends this anywhere; whoever reads the files must let go of them then.
    async with contextlib.aclosing(lines):
        await response.prepare(request)
        async for chunk in lines:
            await response.write(chunk)
        await response.write_eof()
    return response


def _refuse_before_start(pod: Object, container: str, *, previous: bool) -> None:
    """:raises StatusError: 400 when the container has not run, or not run before, so there is no log."""
    status = pod.get("status") or {}
    statuses = [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]
    found: Object = next((one for one in statuses if one["name"] == container), {})
    name, state = pod["metadata"]["name"], found.get("state") or {}
    has_run = (found.get("lastState") or {}).get("terminated") is not None
    if previous and not has_run:
        said = f'previous terminated container "{container}" in pod "{name}" not found'
        raise StatusError(400, "BadRequest", said)
    if "running" not in state and "terminated" not in state and not has_run:
        why = (state.get("waiting") or {}).get("reason") or "ContainerCreating"
        said = f'container "{container}" in pod "{name}" is waiting to start: {why}'
        raise StatusError(400, "BadRequest", said)


def _container(pod: Object, wanted: str) -> str:
    names = [str(one["name"]) for one in pod["spec"]["containers"]]
    init = [str(one["name"]) for one in pod["spec"].get("initContainers") or ()]
    name = pod["metadata"]["name"]
    if not wanted:
        if len(names) > 1:
            raise StatusError(
                400,
                "BadRequest",
                f"a container name must be specified for pod {name}, choose one of: [{' '.join(names)}]",
            )
        return names[0]
    if wanted not in (*names, *init):
        raise StatusError(400, "BadRequest", f"container {wanted} is not valid for pod {name}")
    return wanted
