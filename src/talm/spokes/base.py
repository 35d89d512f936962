"""What every way of reaching a spoke must offer: a look without a request, and effects.

A transport knows nothing of phases, deadlines or conditions; it maps its hub objects to one `Fact`
per cluster and carries out `Effect`s.  It is given an `Order` because what is put on a spoke depends
on the CGU, and a run because objects of another run are leftovers, not ours.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from talm.api.cgu import PrecachingSpec
from talm.api.pod import NODES_AT_ONCE, Nodes, StoreKind
from talm.core.model import Effect, Sight
from talm.core.removal import Removal


@dataclass(frozen=True, slots=True)
class PodTerms:
    """What the pods of profile talm are like on one cluster.

    `image_sets`: a machine config operator is there, so that a PinnedImageSet is what pins.
    `pull_secrets` name Secrets of the spoke's namespace, for the workload's own image.  `nodes` is the
    CGU's wish, the rest the cluster's and the operator's.
    """

    store: StoreKind = StoreKind.OCI_LAYOUT
    pull_secrets: tuple[str, ...] = ()
    nodes: Nodes = Nodes.ONE
    nodes_at_once: int = NODES_AT_ONCE
    image_sets: bool = False


@dataclass(frozen=True, slots=True)
class Order:
    """What one run of one CGU wants on its clusters.

    `run` names the run in labels (at most 63 characters); `clusters` is how many clusters take part
    (it paces the views); `job_deadline_s` is the Job's activeDeadlineSeconds; of `pod` the
    transport fills in, cluster by cluster, all but `nodes`.  `spec` is what most clusters are to cache;
    whose own is another one is in `others`.  A transport is given the order of the one cluster.
    """

    run: str
    cgu: str
    cgu_namespace: str
    spec: PrecachingSpec
    job_deadline_s: int
    clusters: int
    image: str  # the workload's image
    pod: PodTerms = PodTerms()
    others: Mapping[str, PrecachingSpec] = field(default_factory=dict)

    def for_cluster(self, cluster: str) -> Order:
        """The order with the cluster's own specification; where all agree it is this one."""
        own = self.others.get(cluster)
        return self if own is None else replace(self, spec=own, others={})


class Transport(Protocol):
    """One way to reach spokes."""

    def look(self, cluster: str, order: Order, now: dt.datetime) -> Sight:
        """Tell what the caches know of this cluster; no request is made."""

    async def carry_out(self, cluster: str, effects: tuple[Effect, ...], order: Order) -> None:
        """Carry the effects out in order, each idempotent.  Raises `ApiError` at the first that fails."""

    def removals(
        self, order: Order, now: dt.datetime, asks: Callable[[str], bool]
    ) -> Mapping[str, Removal]:
        """Removals of the order's run that are not known to be done, of clusters that `asks` wants to know.

        No request is made, and clusters of which there is nothing to tell cost next to nothing.
        """

    def watch(self, on_change: Callable[[str], None]) -> None:
        """Call `on_change(cluster)` whenever something that `look` or `removals` reads has changed."""


class Successes(Protocol):
    """What is remembered of a run whose Job has succeeded when all that showed it is gone."""

    def has_succeeded(self, cluster: str, run: str) -> bool:
        """Whether the Job of this run has succeeded on the cluster."""
        ...

    async def forget_success(self, cluster: str, run: str) -> None:
        """The run begins anew there.  Raises `ApiError`."""
        ...


class NothingRemembered:
    """`Successes` of who only looks: what the hub shows is all."""

    def has_succeeded(self, _cluster: str, _run: str) -> bool:
        return False

    async def forget_success(self, _cluster: str, _run: str) -> None:
        return
