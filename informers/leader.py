"""Leader election over a ``coordination.k8s.io/v1`` Lease, with a fence.

What keeps two processes from writing at once, although neither trusts the other's clock:

* A follower counts ``leaseDurationSeconds`` from the moment *it* saw the record change, on its own
  monotonic clock. The timestamps in the record are for people.
* The leader counts its shorter renew deadline from the moment *before* it sent the renewal that succeeded.
  At that deadline the fence closes by itself: :meth:`LeaderElector.fence` refuses every write, whether or
  not anything else still runs.

So the clocks may differ by any amount, and run at different rates as long as the ratio stays below
lease duration to renew deadline. What remains is a request that left in time and is acted on by the server
only after the gap between the two; it is for resource versions to refuse that one.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from typing import Any

from informers.client import Client
from informers.clock import Clock, micro_time
from informers.errors import (
    AlreadyExists,
    Conflict,
    Fenced,
    NotFound,
    RuntimeFault,
    TransportError,
    log_level,
)
from informers.objects import Object, ObjectKey, Resource

log = logging.getLogger(__name__)

LEASE = Resource("coordination.k8s.io", "v1", "leases", "Lease")

JITTER = 1.2
"""A follower's pauses are up to this share longer than the retry period, so that followers part."""

_RELEASED_SECONDS = 1
"""Lease duration written on release; the API server wants a positive one."""

_SHORTEST_PAUSE = 0.5
"""Seconds between two attempts, however long the first took."""

_MOST_TRANSITIONS = 2**31 - 1

_NEVER = float("-inf")


class LeaseLost(RuntimeFault):
    """This process does not lead any more: the lease was not renewed in time, or someone else has it."""


class LeaderElector:
    """Campaigns for one lease.

    Call :meth:`acquire`, then :meth:`hold` for as long as there is work, then :meth:`release`. After a loss
    the same elector may campaign again.

    :param client: one without a fence; the elector must not ask itself for permission.
    :param identity: names this process; must be unlike that of every other living candidate. A lease held
        under it is taken back at once; see :mod:`informers.identity` for one that outlives a restart.
    :param lease_duration: seconds after which others may take a lease that is not renewed; 15 by default.
    :param renew_deadline: seconds after the last renewal at which this process stops leading; 10 by default.
    :param retry_period: seconds between two renewals or two attempts; 2 by default.
    """

    def __init__(
        self,
        client: Client,
        namespace: str,
        name: str,
        identity: str,
        *,
        clock: Clock,
        lease_duration: float = 15.0,
        renew_deadline: float = 10.0,
        retry_period: float = 2.0,
        rng: random.Random | None = None,
    ) -> None:
        if not lease_duration > renew_deadline > JITTER * retry_period > 0:
            raise ValueError("lease duration > renew deadline > 1.2 x retry period > 0 must hold")
        if not identity:
            raise ValueError("a candidate needs an identity")
        self.key = ObjectKey(namespace, name)
        self.identity = identity
        self._client = client
        self._clock = clock
        self._lease_duration = lease_duration
        self._renew_deadline = renew_deadline
        self._retry_period = retry_period
        # Jitter needs no secrecy.
        self._rng = rng or random.Random()  # noqa: S311
        self._valid_until = _NEVER
        self._seen: Object | None = None
        self._seen_at = 0.0
        self._worked_at: float | None = None
        """When an attempt last came to a result, whether or not it was the lease."""
        self._trouble = ""

    # -- looking ----------------------------------------------------------------------------------

    @property
    def leading(self) -> bool:
        """Whether this process can prove right now that it leads."""
        return self._clock.monotonic() < self._valid_until

    @property
    def holder(self) -> str:
        """Who holds the lease, as last seen; "" when nobody does or nothing was seen."""
        return _holder(self._seen) if self._seen is not None else ""

    def fence(self) -> None:
        """Let a write pass, or not.

        :raises informers.errors.Fenced: unless this process can prove that it leads.
        """
        if not self.leading:
            raise Fenced(f"{self.identity} does not hold the lease {self.key}")

    def reference(self) -> Object:
        """The lease as the object an event may be about."""
        if self._seen is not None:
            return self._seen
        return _blank(self.key)

    def health(self) -> str | None:
        """What is wrong, for a readiness check: a lease that could not be read, taken when it was free, or
        renewed, for a lease duration."""
        if self._worked_at is None:
            return self._trouble or None
        silent = self._clock.monotonic() - self._worked_at
        if silent <= self._lease_duration:
            return None
        return f"lease {self.key} not read or renewed for {silent:.0f} s: {self._trouble or 'no attempt'}"

    # -- life -------------------------------------------------------------------------------------

    async def acquire(self) -> None:
        """Wait until this process leads. Errors are reported by :meth:`health` and in the log."""
        holder = None
        while not await self._try(self._request_timeout):
            if self.holder and self.holder != holder:
                holder = self.holder
                log.info("waiting for the lease", extra={"lease": self.key, "holder": holder})
            await asyncio.sleep(self._retry_period * (1.0 + JITTER * self._rng.random()))
        log.info("became leader", extra={"lease": self.key, "identity": self.identity})

    async def hold(self) -> None:
        """Renew until that fails. When this raises, the fence is closed already.

        :raises LeaseLost: when the renew deadline has passed, or someone else holds the lease.
        """
        tried = self._clock.monotonic()
        while True:
            # A slow failure must not cost the attempts that are left, hence from start to start.
            pause = max(_SHORTEST_PAUSE, tried + self._retry_period - self._clock.monotonic())
            # Sums of floats need not meet exactly; to be late is no matter, the fence closes by itself.
            await asyncio.sleep(max(0.001, min(pause, self._valid_until - self._clock.monotonic())))
            tried = self._clock.monotonic()
            left = self._valid_until - tried
            if left <= 0:
                self._valid_until = _NEVER
                why = self._trouble or "this process was too slow"
                raise LeaseLost(
                    f"lost the lease {self.key}: not renewed in {self._renew_deadline:g} s: {why}"
                )
            if not await self._try(min(left, self._request_timeout)) and self.holder != self.identity:
                self._valid_until = _NEVER
                raise LeaseLost(f"lost the lease {self.key} to {self.holder or 'no holder'}")

    async def release(self) -> None:
        """Close the fence and give the lease back, so that the next one need not wait for it to expire.

        To be called when nothing writes any more. Tries for one request timeout, but not on when the server
        cannot even be asked how things are, and never raises: a lease that cannot be given back expires.
        """
        # First the fence, then the record: the other way round both could write.
        self._valid_until = _NEVER
        if self.holder != self.identity:
            return
        try:
            async with asyncio.timeout(self._request_timeout):
                while self._seen is not None and self.holder == self.identity:
                    try:
                        self._see(await self._client.update(LEASE, self._released(self._seen)))
                    except (Conflict, TransportError) as error:
                        if isinstance(error, TransportError):
                            # A single broken connection should not keep the next one waiting.
                            await asyncio.sleep(_SHORTEST_PAUSE)
                        self._see(await self._client.get(LEASE, self.key))
        except (RuntimeFault, TimeoutError) as error:
            level = log_level(error, logging.WARNING)
            log.log(level, "the lease was not released: %s", error, extra={"lease": self.key})
        else:
            log.info("released the lease", extra={"lease": self.key})

    # -- one attempt ------------------------------------------------------------------------------

    @property
    def _request_timeout(self) -> float:
        return max(1.0, self._renew_deadline / 2.0)

    async def _try(self, patience: float) -> bool:
        """One attempt to get or renew the lease, in so many seconds; True when this process holds it."""
        try:
            async with asyncio.timeout(patience):
                held = await self._attempt()
        except (RuntimeFault, TimeoutError) as error:
            trouble = str(error) or "no answer in time"
            level = logging.DEBUG if self._trouble else log_level(error, logging.WARNING)
            log.log(level, "the lease cannot be read or renewed: %s", trouble, extra={"lease": self.key})
            self._trouble = trouble
            return False
        self._trouble, self._worked_at = "", self._clock.monotonic()
        return held

    async def _attempt(self) -> bool:
        if self._seen is not None and self.holder == self.identity and self.leading:
            try:
                await self._take(self._seen)
            except (Conflict, NotFound):
                # Changed behind our back, maybe by our own request whose answer was lost: look.
                pass
            else:
                return True
        try:
            lease = await self._client.get(LEASE, self.key)
        except NotFound:
            return await self._create()
        self._see(lease)
        if self._taken(lease):
            return False
        try:
            await self._take(lease)
        except Conflict:
            return False
        return True

    async def _create(self) -> bool:
        began = self._clock.monotonic()
        lease = _blank(self.key)
        now = self._now()
        lease["spec"] = {**self._claim(now), "acquireTime": now, "leaseTransitions": 0}
        try:
            answer = await self._client.create(LEASE, lease)
        except AlreadyExists:
            return False
        self._took(answer, began)
        return True

    async def _take(self, lease: Object) -> None:
        began = self._clock.monotonic()
        now = self._now()
        spec: dict[str, Any] = {**(lease.get("spec") or {}), **self._claim(now)}
        if _holder(lease) != self.identity:
            spec["acquireTime"] = now
            # For people as well. What the server could not store would keep everybody from leading.
            spec["leaseTransitions"] = min(int(spec.get("leaseTransitions") or 0) + 1, _MOST_TRANSITIONS)
        # The resource version travels along: whoever was faster makes this a conflict.
        self._took(await self._client.update(LEASE, {**lease, "spec": spec}), began)

    def _took(self, answer: Object, began: float) -> None:
        self._see(answer)
        # Counted from before the request: the server may have written any moment after that.
        self._valid_until = began + self._renew_deadline

    def _see(self, lease: Object) -> None:
        now = self._clock.monotonic()
        # The version as well: a record may be renewed within one tick of its holder's clock.
        if self._seen is None or _record(self._seen) != _record(lease):
            self._seen_at = now
        self._seen = lease

    def _taken(self, lease: Object) -> bool:
        if _holder(lease) in ("", self.identity):
            return False
        if self.leading:
            # Someone else led meanwhile, however briefly: our work must end before we may lead again.
            return True
        duration = (lease.get("spec") or {}).get("leaseDurationSeconds") or self._lease_duration
        return self._clock.monotonic() < self._seen_at + float(duration)

    def _claim(self, now: str) -> dict[str, Any]:
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": math.ceil(self._lease_duration),
            "renewTime": now,
        }

    def _released(self, lease: Object) -> Object:
        spec = {key: value for key, value in (lease.get("spec") or {}).items() if key != "holderIdentity"}
        now = self._now()
        spec |= {"leaseDurationSeconds": _RELEASED_SECONDS, "renewTime": now, "acquireTime": now}
        return {**lease, "spec": spec}

    def _now(self) -> str:
        return micro_time(self._clock.time())


def _holder(lease: Object) -> str:
    return str((lease.get("spec") or {}).get("holderIdentity") or "")


def _record(lease: Object) -> tuple[Any, Any]:
    return lease["metadata"].get("resourceVersion"), lease.get("spec")


def _blank(key: ObjectKey) -> Object:
    return {
        "apiVersion": LEASE.api_version,
        "kind": LEASE.kind,
        "metadata": {"namespace": key.namespace, "name": key.name},
    }
