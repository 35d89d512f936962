"""Leader election with a coordination.k8s.io/v1 Lease, as client-go does it.

    acquire ──► leading: renewed every `retry_s` ──► released on exit (holderIdentity "")
                  │ not renewed for `renew_s`, or somebody else holds it
                  └──► LeadershipLost: the run ends

Decided here: when we lead, and until when we may write.  A Lease fences nobody, so every write of
ours asks `check` right before it is sent (`Client.guard`); our own deadline ends `duration_s -
renew_s` before another may take over, which is the time that a request may be under way.
Times are taken where a request *begins*, on a clock that goes on while the machine is suspended.
Not here: what a leader does.

The client must be one of its own: an API server that hangs, or a pool of slow connections, must
not hold up the renewal.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NoReturn, TypeVar

import structlog

from talm.api.kinds import LEASE
from talm.errors import ApiError, Conflict, CredentialError, LeadershipLost, NotFound
from talm.kube.client import Client

R = TypeVar("R")

# A holder that has not renewed for so long by our clock is gone; no clock that TLS works with is
# so wrong.
_LONG_DEAD: Final = dt.timedelta(hours=1)
_LOOK_S: Final = 1.0

log = structlog.get_logger(__name__)


def suspended_too() -> float:
    """Seconds on a clock that never jumps and counts the time in which the machine slept."""
    # Without CLOCK_BOOTTIME (macOS) CLOCK_MONOTONIC is the one that counts sleep.
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@dataclasses.dataclass(frozen=True, slots=True)
class LeaseTimes:
    """Seconds; the values that client-go and controller-runtime begin with."""

    duration_s: float = 15.0  # others wait for so long after they last saw a renewal
    renew_s: float = 10.0  # without a renewal for so long we stop
    retry_s: float = 2.0  # between two attempts

    def __post_init__(self) -> None:
        if not 0 < self.retry_s < self.renew_s < self.duration_s:
            raise ValueError(f"lease times must be retry < renew < duration: {self}")


class Leadership:
    """Our claim on one Lease; `identity` must be unique to this process."""

    def __init__(
        self,
        client: Client,
        namespace: str,
        name: str,
        identity: str,
        *,
        times: LeaseTimes | None = None,
        clock: Callable[[], float] = suspended_too,
    ) -> None:
        self.identity = identity
        self.holder = ""  # whom the Lease named when we last saw it
        self._client = client
        self._namespace = namespace
        self._name = name
        self._times = times or LeaseTimes()
        self._clock = clock
        self._lease: dict[str, Any] | None = None  # as last seen or written
        self._mark: object = None  # changes whenever its holder renews
        self._marked_at = 0.0
        self._valid_until: float | None = None

    @property
    def is_leading(self) -> bool:
        """Whether we may write now."""
        return self._valid_until is not None and self._clock() < self._valid_until

    def check(self) -> None:
        """Raise LeadershipLost unless we may write now: the guard of every writing client."""
        if not self.is_leading:
            raise LeadershipLost(
                f"lease {self._namespace}/{self._name}: not renewed for {self._times.renew_s:g} s "
                f"(held by {self.holder or 'nobody'} when last seen); nothing more is written"
            )

    async def lead(self, work: Callable[[], Awaitable[R]]) -> R:
        """Wait for the Lease, run `work` while it is ours, release it; what `work` returns.

        Raises LeadershipLost (after `work` was cancelled), or what `work` raises.
        """
        await self._acquire()
        working = asyncio.ensure_future(work())
        renewing = asyncio.create_task(self._keep())
        try:
            await asyncio.wait({working, renewing}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                renewing.result()  # raises LeadershipLost
            return await working
        finally:
            await self._wind_up(working, renewing)

    async def _wind_up(
        self, working: asyncio.Future[Any], renewing: asyncio.Task[NoReturn]
    ) -> None:
        """End the work while we still renew, then let go."""
        working.cancel()
        if renewing.done():  # lost: another leads soon, whether the work has ended by then or not
            await asyncio.wait({working}, timeout=self._times.duration_s - self._times.renew_s)
        else:
            await asyncio.wait({working, renewing}, return_when=asyncio.FIRST_COMPLETED)
        renewing.cancel()
        await asyncio.wait({renewing})
        for task in (working, renewing):
            if task.done() and not task.cancelled():
                task.exception()  # has been raised where it matters
        await self._release()

    async def _acquire(self) -> None:
        last = ""
        while not await self._attempt(self._times.renew_s):
            if self.holder != last:
                last = self.holder
                log.info("waiting for the lease", lease=self._name, holder=last)
            # client-go: jitter of up to a fifth
            await asyncio.sleep(self._times.retry_s * random.uniform(1.0, 1.2))  # noqa: S311
        log.info("leading", lease=self._name, identity=self.identity)

    async def _keep(self) -> NoReturn:
        """Renew until that fails for too long; raises LeadershipLost."""
        while True:
            await asyncio.sleep(self._times.retry_s)
            self.check()
            left = (self._valid_until or 0.0) - self._clock()
            # Half of the deadline: one attempt that hangs leaves time for another.
            await self._attempt(min(left, self._times.renew_s / 2))
            if self.holder not in ("", self.identity):
                self._valid_until = None
            self.check()

    async def _attempt(self, timeout_s: float) -> bool:
        """Try once to hold the Lease from now on; False: held by another, or no answer."""
        began = self._clock()
        try:
            async with asyncio.timeout(timeout_s):  # credentials count, too
                won = await self._try(timeout_s)
        except (ApiError, CredentialError, TimeoutError) as exc:
            self._lease = None  # it may have been written, by us or by another: read it again
            log.warning("lease attempt failed", lease=self._name, error=str(exc) or "timed out")
            return False
        if won:
            self._valid_until = began + self._times.renew_s
        return won

    async def _try(self, timeout_s: float) -> bool:
        lease = self._lease
        if lease is None or self.holder != self.identity:
            try:
                lease = await self._client.get(
                    LEASE, self._name, self._namespace, timeout_s=timeout_s
                )
            except NotFound:
                meta = {"name": self._name, "namespace": self._namespace}
                body = {"metadata": meta, "spec": self._spec({})}
                self._saw(await self._client.create(LEASE, body, timeout_s=timeout_s))
                return True
            self._saw(lease)
            if self._is_held_by_another(lease):
                return False
        renewed = {**lease, "spec": self._spec(lease.get("spec") or {})}
        self._saw(await self._client.replace(LEASE, renewed))
        return True

    def _is_held_by_another(self, lease: Mapping[str, Any]) -> bool:
        if self.holder in ("", self.identity):
            return False
        # Its own clock says nothing to us: what counts is how long ago we saw it move.
        lasts_s = (lease.get("spec") or {}).get("leaseDurationSeconds") or self._times.duration_s
        return self._clock() < self._marked_at + lasts_s

    def _saw(self, lease: dict[str, Any]) -> None:
        self._lease = lease
        spec = lease.get("spec") or {}
        self.holder = spec.get("holderIdentity") or ""
        mark = (self.holder, spec.get("renewTime"), spec.get("leaseTransitions"))
        if mark != self._mark:
            self._mark, self._marked_at = mark, self._clock()

    def _spec(self, old: Mapping[str, Any]) -> dict[str, Any]:
        now = _micro_time()
        ours = old.get("holderIdentity") == self.identity
        transitions = old.get("leaseTransitions") or 0
        return {
            **old,
            "holderIdentity": self.identity,
            "leaseDurationSeconds": max(1, round(self._times.duration_s)),
            "acquireTime": old.get("acquireTime") if ours else now,
            "renewTime": now,
            "leaseTransitions": transitions + (bool(old) and not ours),
        }

    async def _release(self) -> None:
        """Let another lead at once; a failure only makes it wait."""
        leading, self._valid_until = self.is_leading, None
        if not leading:
            return
        try:
            async with asyncio.timeout(self._times.renew_s / 2):
                while not await self._has_let_go():
                    pass
        except (ApiError, CredentialError, TimeoutError) as exc:
            log.warning("lease not released", lease=self._name, error=str(exc) or "timed out")
        else:
            log.info("lease released", lease=self._name)

    async def _has_let_go(self) -> bool:
        # Read first: a renewal that was cancelled on its way may have been done, or be done yet.
        lease = await self._client.get(LEASE, self._name, self._namespace)
        self._saw(lease)
        if self.holder == self.identity:
            try:
                self._saw(await self._client.replace(LEASE, _released(lease)))
            except Conflict:
                return False
        return True


def _released(lease: Mapping[str, Any]) -> dict[str, Any]:
    now = _micro_time()
    free = {"holderIdentity": "", "leaseDurationSeconds": 1, "acquireTime": now, "renewTime": now}
    return {**lease, "spec": {**lease["spec"], **free}}


async def is_renewed(
    client: Client,
    namespace: str,
    name: str,
    *,
    clock: Callable[[], float] = suspended_too,
    look_s: float = _LOOK_S,
) -> bool:
    """Whether somebody holds this Lease and renews it: watches it for as long as it lasts.

    No answer in the Lease itself would do: its times are another machine's.  True as soon as it
    moves; False when it is missing, released, unmoved for its duration, or dead for an hour.
    Raises ApiError.
    """
    first = await _read_spec(client, namespace, name)
    if not first.get("holderIdentity") or _is_long_dead(first.get("renewTime")):
        return False
    until = clock() + (first.get("leaseDurationSeconds") or LeaseTimes().duration_s)
    log.info("watching a lease", lease=f"{namespace}/{name}", holder=first["holderIdentity"])
    while clock() < until:
        await asyncio.sleep(look_s)
        spec = await _read_spec(client, namespace, name)
        if not spec.get("holderIdentity"):
            return False
        if any(spec.get(f) != first.get(f) for f in ("renewTime", "holderIdentity")):
            return True
    return False


async def _read_spec(client: Client, namespace: str, name: str) -> Mapping[str, Any]:
    try:
        lease = await client.get(LEASE, name, namespace)
    except NotFound:
        return {}
    return lease.get("spec") or {}


def _is_long_dead(renew_time: object) -> bool:
    try:
        renewed = dt.datetime.fromisoformat(str(renew_time))
        return dt.datetime.now(dt.UTC) - renewed > _LONG_DEAD
    except (ValueError, TypeError):  # none, odd, or without a zone
        return False


def _micro_time() -> str:
    """metav1.MicroTime."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
