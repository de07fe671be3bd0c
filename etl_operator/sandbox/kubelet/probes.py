"""Health probes: when to ask, what the answers mean (pure), and how to ask (real sockets)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

RunInContainer = Callable[[Sequence[str]], Awaitable[int]]
"""Runs a command as the container would, and returns its exit code."""

_EAGER = 0.25


@dataclass(slots=True)
class ProbeState:
    """Counts answers in a row and says what they mean.

    :param healthy: what holds before anything is known: false for startup and readiness, true for liveness.
    """

    success_threshold: int
    failure_threshold: int
    healthy: bool
    _streak: int = 0
    _last: bool | None = None

    @classmethod
    def of(cls, probe: Mapping[str, Any], *, healthy: bool) -> ProbeState:
        """From a probe's spec, with the API's defaults."""
        return cls(int(probe.get("successThreshold") or 1), int(probe.get("failureThreshold") or 3), healthy)

    def record(self, success: bool) -> bool:
        """Take in an answer; returns whether the threshold for a verdict is reached with it."""
        self._streak = self._streak + 1 if success == self._last else 1
        self._last = success
        reached = self._streak >= (self.success_threshold if success else self.failure_threshold)
        if reached:
            self.healthy = success
        return reached


@dataclass(frozen=True, slots=True)
class Cadence:
    """When to ask next, in seconds. A thing that comes up is asked more often than the spec says."""

    initial_delay: float
    period: float
    timeout: float

    @classmethod
    def of(cls, probe: Mapping[str, Any]) -> Cadence:
        """From a probe's spec, with the API's defaults."""
        return cls(
            float(probe.get("initialDelaySeconds") or 0),
            float(probe.get("periodSeconds") or 10),
            float(probe.get("timeoutSeconds") or 1),
        )

    @property
    def eager(self) -> float:
        """The pause while waiting for the first success; failures count once per period all the same."""
        return min(_EAGER, self.period)


async def watch(
    probe: Mapping[str, Any],
    ask: Callable[[], Awaitable[str | None]],
    verdict: Callable[[bool, str], None],
    *,
    healthy: bool,
) -> None:
    """Ask again and again until cancelled, and report every verdict.

    :param ask: returns ``None`` for a success, or what is wrong.
    :param verdict: called with success or failure each time a threshold is reached.
    :param healthy: what holds before anything is known.
    """
    state, cadence = ProbeState.of(probe, healthy=healthy), Cadence.of(probe)
    loop = asyncio.get_running_loop()
    await asyncio.sleep(cadence.initial_delay)
    counts_from = loop.time()
    while True:
        asked = loop.time()
        try:
            # Not wait_for: before Python 3.12 it swallows a cancellation that meets the answer.
            async with asyncio.timeout(cadence.timeout):
                problem = await ask()
        except TimeoutError:
            problem = f"no answer within {cadence.timeout:g} s"
        eager = not state.healthy
        # Asked early, it may fail early: that is no reason to give up earlier than the spec says.
        if (problem is None or not eager or asked >= counts_from) and state.record(problem is None):
            verdict(problem is None, problem or "")
        if asked >= counts_from:
            counts_from = asked + cadence.period
        pause = cadence.eager if not state.healthy else cadence.period
        await asyncio.sleep(max(0.0, asked + pause - loop.time()))


def asker(
    probe: Mapping[str, Any], container: Mapping[str, Any], host: str, run: RunInContainer
) -> Callable[[], Awaitable[str | None]]:
    """How to ask, for any of the four kinds of probe.

    :param host: the pod's address, unless the probe names another host.
    """
    if "httpGet" in probe:
        return lambda: _http(probe["httpGet"], container, host)
    if "tcpSocket" in probe:
        return lambda: _tcp(probe["tcpSocket"], container, host)
    if "grpc" in probe:
        return lambda: _grpc(probe["grpc"], host)
    return lambda: _exec(probe["exec"]["command"], run)


def port_number(port: int | str, container: Mapping[str, Any]) -> int:
    """A port given by number or by the name the container gives it.

    :raises LookupError: when the container has no port of that name.
    """
    if isinstance(port, int):
        return port
    for entry in container.get("ports") or ():
        if entry.get("name") == port:
            return int(entry["containerPort"])
    if port.isdigit():
        return int(port)
    raise LookupError(f'no port is called "{port}"')


async def _http(action: Mapping[str, Any], container: Mapping[str, Any], host: str) -> str | None:
    scheme = str(action.get("scheme") or "HTTP").lower()
    try:
        port = port_number(action["port"], container)
        path = str(action.get("path") or "/")
        url = f"{scheme}://{action.get('host') or host}:{port}/{path.lstrip('/')}"
        headers = {entry["name"]: entry["value"] for entry in action.get("httpHeaders") or ()}
        async with (
            aiohttp.ClientSession(headers={"User-Agent": "kube-probe/sandbox", **headers}) as session,
            session.get(url, ssl=False, allow_redirects=False) as response,
        ):
            body = await response.content.read(256)
            if 200 <= response.status < 400:
                return None
            return f"HTTP {response.status}: {body.decode(errors='replace').strip()}".rstrip(": ")
    except (aiohttp.ClientError, OSError, LookupError) as error:
        return str(error) or type(error).__name__


async def _tcp(action: Mapping[str, Any], container: Mapping[str, Any], host: str) -> str | None:
    try:
        port = port_number(action["port"], container)
        _, writer = await asyncio.open_connection(action.get("host") or host, port)
    except (OSError, LookupError) as error:
        return str(error)
    writer.close()
    return None


async def _grpc(action: Mapping[str, Any], host: str) -> str | None:
    # Only here: most pods have no such probe, and the import is a slow one.
    import grpc.aio
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    target = f"{host}:{action['port']}"
    # A proxy meant for the operator must not stand between a pod and its probe.
    async with grpc.aio.insecure_channel(target, options=[("grpc.enable_http_proxy", 0)]) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=action.get("service") or ""))
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name}: {error.details()}"
    serving = answer.status == health_pb2.HealthCheckResponse.SERVING
    return None if serving else health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


async def _exec(command: Sequence[str], run: RunInContainer) -> str | None:
    code = await run(command)
    return None if code == 0 else f"the command ended with exit code {code}"
