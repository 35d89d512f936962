"""The operator's process: its parts put together, begun in order, ended safely.

    credentials ──► is the hub ours to work on? ──► probes ──► informers ──► Lease ──► workers

A replica without the Lease keeps its informers warm.  On SIGTERM no new pass begins, running ones may
finish for a while, then the Lease is released.  Losing the Lease ends the process: a Lease has no
fencing, so every write also checks our own deadline right before it is sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import gc
import os
import socket
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, Final

import structlog

from talm import __version__
from talm.api import kinds
from talm.api.words import EXISTING_OPERATOR_LEASE, OPERATOR_LEASE
from talm.errors import SetupError
from talm.kube.client import Client
from talm.kube.events import EventRecorder
from talm.kube.lease import Leadership, LeaseTimes, is_renewed
from talm.kube.queue import Gap, WorkQueue, run_workers
from talm.spokes.base import PodTerms
from talm.spokes.ownstore import choose_store, has_image_sets

from .apply import Applier
from .graph import GraphSettings, UpdateGraph
from .health import HealthServer
from .lookout import Lookout
from .metrics import Metrics
from .notify import EventNotifier
from .observe import Observer
from .persist import Persister
from .placements import Placements
from .reach import open_ways
from .reconcile import Reconciler
from .routes import Routes
from .settings import Settings
from .store import Key, Store
from .throttle import Throttle
from .vigil import Vigil

log = structlog.get_logger(__name__)

USER_AGENT: Final = f"talm/{__version__} operator"
# Garbage collection over a large, stable cache costs tens of milliseconds per run: it is made rare,
# and what start-up has left is not looked at again.
GC_THRESHOLD: Final = (50_000, 20, 50)
# A pass over 1,000 clusters costs some 30 ms: two a second are 6 % of a core, and a change is seen
# within half a second.
GAP: Final = Gap(longest_s=0.5)


def utc_now() -> dt.datetime:
    """The wall clock, in UTC."""
    return dt.datetime.now(dt.UTC)


class Operator:
    """One operator process; `run` returns when `stop` was set and everything has ended."""

    def __init__(self, settings: Settings, now: Callable[[], dt.datetime] = utc_now) -> None:
        self._settings = settings
        self._now = now
        self._metrics = Metrics()
        self._queue: WorkQueue[Key] = WorkQueue(gap=GAP)
        self._routes = Routes()
        self._vigil: Vigil | None = None
        self.health: HealthServer | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop`.

        Raises `SetupError` (this hub is not ready for us, the probes' address is taken), `ApiError` (the
        API server fails at the start; once at work, that is waited for while the Lease can be renewed),
        `CredentialError`, `LeadershipLost`, and `Bug`.
        """
        kubeconfig = Path(self._settings.kubeconfig) if self._settings.kubeconfig else None
        async with contextlib.AsyncExitStack() as stack:
            client = await stack.enter_async_context(
                await Client.connect(kubeconfig, user_agent=USER_AGENT)
            )
            if not await _unless(stop, self._look_at_hub(client)):
                return
            lease_client = await stack.enter_async_context(
                await Client.connect(kubeconfig, user_agent=f"{USER_AGENT} lease")
            )
            graph = await stack.enter_async_context(self._graph())
            await self._work(client, lease_client, graph, stop)

    async def _look_at_hub(self, client: Client) -> None:
        """Refuse a hub without our kinds, and one on which the existing operator is at work."""
        for kind in (kinds.CGU, kinds.PRE_CACHING_CONFIG, kinds.MANAGED_CLUSTER):
            if not await client.serves(kind):
                raise SetupError(
                    f"{client.server} does not serve {kind}: "
                    + (
                        "apply deploy/crds first"
                        if kind.group == kinds.CGU.group
                        else "it is no Open Cluster Management hub"
                    )
                )
        if self._settings.takeover:
            return
        found = await client.list(
            kinds.LEASE, field_selector=f"metadata.name={EXISTING_OPERATOR_LEASE}"
        )
        for lease in found:
            namespace = lease["metadata"]["namespace"]
            if await is_renewed(client, namespace, EXISTING_OPERATOR_LEASE):
                raise SetupError(
                    f"the existing operator is at work on {client.server} (lease "
                    f"{namespace}/{EXISTING_OPERATOR_LEASE} is being renewed): stop it first, or give "
                    "--takeover"
                )

    def _graph(self) -> UpdateGraph:
        settings = GraphSettings(
            insecure=self._settings.graph_insecure, timeout_s=self._settings.graph_timeout
        )
        return UpdateGraph(settings, on_answer=lambda _: self._everything())

    def _terms(self, store: Store) -> Callable[[str], PodTerms]:
        """What a cluster's pod is like, by what is known of the cluster when it is made."""
        settings = self._settings

        def terms(cluster: str) -> PodTerms:
            found = store.managed_clusters.get(cluster)
            kind = choose_store(found, settings.image_store)
            sets = has_image_sets(found, kind)
            return PodTerms(
                kind,
                settings.secrets,
                nodes_at_once=settings.nodes_at_once,
                image_sets=sets,
            )

        return terms

    async def _work(
        self, client: Client, lease_client: Client, graph: UpdateGraph, stop: asyncio.Event
    ) -> None:
        settings = self._settings
        store = Store(client, self._heard, now=self._now)
        ways = open_ways(client, store, settings, now=self._now, terms=self._terms(store))
        self._ways = ways
        self._store = store
        throttle = Throttle(settings.concurrency)
        client.on_call = self._on_call(throttle)
        self._metrics.follow(store, lambda: len(self._queue), lambda: throttle.limit)
        lookout = Lookout(ways.used)
        observer = Observer(
            store,
            self._routes,
            graph,
            lookout,
            rules=settings.rules,
            image=settings.workload_image,
            now=self._now,
            watched_since=lambda: self._vigil.since if self._vigil is not None else None,
        )
        applier = Applier(client, lookout, Placements(client, store), store.records, throttle)
        recorder = EventRecorder(client, controller=kinds.CGU.kind, instance=_identity())
        reconciler = Reconciler(
            observer,
            applier,
            Persister(client, store),
            EventNotifier(recorder),
            witness=self._metrics,
            hold=self._queue.hold,
        )
        self._recorder = recorder
        await self._lead(client, lease_client, store, reconciler, stop)

    async def _lead(
        self,
        client: Client,
        lease_client: Client,
        store: Store,
        reconciler: Reconciler,
        stop: asyncio.Event,
    ) -> None:
        leadership = self._leadership(lease_client)
        leading = (lambda: True) if leadership is None else (lambda: leadership.is_leading)
        self._metrics.follow_lease(leading)
        self.health = HealthServer(store, self._metrics, leading)
        await self._serve(self.health)
        log.info("started", server=client.server, probes=self.health.port, version=__version__)

        async def work() -> None:
            await self._reconcile_until(stop, store, reconciler)

        if leadership is None:
            working = asyncio.ensure_future(work())
        else:
            client.guard = leadership.check
            working = asyncio.ensure_future(_lead_until(stop, leadership, work))
        following = asyncio.ensure_future(store.run())
        try:
            await asyncio.wait({working, following}, return_when=asyncio.FIRST_COMPLETED)
            if following.done():
                following.result()  # informers never end by themselves
            await working
        finally:
            working.cancel()
            following.cancel()
            await asyncio.gather(working, following, return_exceptions=True)
            await self.health.stop()

    async def _serve(self, health: HealthServer) -> None:
        try:
            await health.start(*self._settings.bind)
        except OSError as exc:
            await health.stop()
            raise SetupError(
                f"bind-address {self._settings.bind_address} cannot be used: {exc.strerror or exc}"
            ) from exc

    def _leadership(self, client: Client) -> Leadership | None:
        settings = self._settings
        if not settings.leader_elect:
            return None
        times = LeaseTimes(settings.lease_duration, settings.renew_deadline, settings.retry_period)
        return Leadership(client, settings.namespace, OPERATOR_LEASE, _identity(), times=times)

    async def _reconcile_until(
        self, stop: asyncio.Event, store: Store, reconciler: Reconciler
    ) -> None:
        """Run the workers until `stop`, then let running passes finish for the grace."""
        if not await _unless(stop, store.wait_synced()):
            return
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLD)
        self._everything()
        log.info("working", clusters=len(store.clusters), cgus=len(store.cgus.cache))
        workers = asyncio.ensure_future(
            run_workers(
                self._queue,
                reconciler.reconcile,
                self._settings.workers,
                on_pass=self._metrics.passed,
            )
        )
        self._vigil = Vigil(store.informers.values(), self._now)
        sending = asyncio.ensure_future(self._recorder.run())
        watching = asyncio.ensure_future(self._vigil.run())
        stopping = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait({workers, sending, stopping}, return_when=asyncio.FIRST_COMPLETED)
            self._queue.shut_down()
            if sending.done():
                sending.result()  # it never ends by itself
            await asyncio.wait({workers}, timeout=self._settings.shutdown_grace)
            if workers.done():
                workers.result()
            else:
                log.warning("passes abandoned", after_s=self._settings.shutdown_grace)
        finally:
            for task in (stopping, workers, sending, watching):
                task.cancel()
            await asyncio.gather(workers, stopping, sending, watching, return_exceptions=True)
        await self._recorder.flush()
        log.info("stopped")

    def _heard(self, name: str, key: Key, old: Any, new: Any) -> None:
        """A change on the hub: the transport first, then the CGUs that it may concern."""
        if name == kinds.VIEW.plural:
            self._ways.views.view_changed(key, old, new)
        elif name == kinds.ACTION.plural:
            self._ways.views.action_changed(key, old, new)
        elif name == kinds.MANIFEST_WORK.plural:
            self._ways.works.work_changed(key, old, new)
        elif name == kinds.MANAGED_CLUSTER.plural:
            self._ways.works.cluster_changed(key[1])
        elif name == kinds.ADD_ON.plural and not self._ways.add_on_changed(key[0], new):
            return
        for cgu in tuple(self._routes.heard(name, key, old, new)):
            self._queue.add(cgu)

    def _everything(self) -> None:
        for key in self._store.cgus.cache:
            self._queue.add(key)

    def _on_call(self, throttle: Throttle) -> Callable[[str, str, int, float], None]:
        def called(verb: str, resource: str, status: int, seconds: float) -> None:
            self._metrics.called(verb, resource, status, seconds)
            throttle.answered(seconds)

        return called


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Do the work to its end; False when `stop` came first and it was given up."""
    working = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
            return True
        return False
    finally:
        working.cancel()
        stopping.cancel()
        await asyncio.gather(working, stopping, return_exceptions=True)


async def _lead_until(
    stop: asyncio.Event, leadership: Leadership, work: Callable[[], Awaitable[None]]
) -> None:
    """Lead; work that has begun ends by itself once `stop` is set, waiting for the Lease ends at once."""
    leading = asyncio.ensure_future(leadership.lead(work))
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({leading, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if leading.done() or leadership.is_leading:
            await leading
    finally:
        stopping.cancel()
        leading.cancel()
        await asyncio.gather(leading, stopping, return_exceptions=True)


def _identity() -> str:
    """Unique to this process: a restarted pod keeps its host name."""
    return f"{socket.gethostname()}_{os.getpid()}_{uuid.uuid4().hex[:8]}"
