"""What a cluster's workload has told, as the hub shows it: a view's answer or a work's feedback -> a record.

Decided here: where records are, and whether one is of this CGU's run.  Not here: how they are read
(inclusters.py, watch.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from talm.api import kinds
from talm.api.cgu import ClusterGroupUpgrade, PrecachingSpec
from talm.api.ocm import ManagedClusterView, ManifestWork
from talm.api.progress import ProgressRecord, read_record
from talm.api.words import RUN_LABEL, View
from talm.cli.inclusters import Selected
from talm.core.fleet import stored_phases
from talm.core.placements import run_id
from talm.spokes.base import Order
from talm.spokes.workfacts import told_record
from talm.spokes.workmanifests import work_name


@dataclass(frozen=True, slots=True)
class Told:
    """What a workload has told.

    Whether it has fallen silent since only the operator knows, who has heard of it before: times in the
    record are the spoke's.
    """

    record: ProgressRecord


VIEWS: Final = Selected.named(kinds.VIEW, ManagedClusterView, View.PROGRESS)
WORKS: Final = Selected(kinds.MANIFEST_WORK, ManifestWork, labels=RUN_LABEL)


class Records(Protocol):
    """Views and works as they were read, or are watched."""

    def view(self, cluster: str) -> ManagedClusterView | None: ...

    def work(self, cluster: str, name: str) -> ManifestWork | None: ...

    def why(self, cluster: str) -> str:
        """Why not everything of a cluster is known; "" when it is."""
        ...


def order_of(cgu: ClusterGroupUpgrade) -> Order:
    """The CGU's order, as far as looking at its clusters needs it."""
    stored = cgu.status.precaching
    return Order(
        run=run_id(cgu.metadata),
        cgu=cgu.metadata.name,
        cgu_namespace=cgu.metadata.namespace,
        spec=(stored.spec if stored else None) or PrecachingSpec(),
        job_deadline_s=cgu.spec.remediation_strategy.timeout * 60,
        clusters=len(stored_phases(cgu.status)),
        image="",
    )


def told_on(cluster: str, order: Order, records: Records) -> Told | None:
    """The record of the order's run on one cluster, by whichever way it is reached."""
    work = records.work(cluster, work_name(order.run))
    if work is not None:
        return _told(told_record(work, order))
    view = records.view(cluster)
    return told_by(view, order.run) if view is not None else None


def told_by(view: ManagedClusterView, run: str) -> Told | None:
    """The record of this run in a view of it; None when there is none (yet), or another run's."""
    result = view.status.result if view.status else None
    if result is None or (result.metadata.labels or {}).get(RUN_LABEL) != run:
        return None
    return _told(result.data or {})


def _told(data: Mapping[str, str]) -> Told | None:
    record = read_record(data)
    return Told(record) if record is not None else None
