"""Which clusters a Placement selects: pure, from the Placement and the ManagedClusters.

As OCM's scheduler without scores: predicates are ORed, selectors inside one ANDed, a taint
that is not tolerated excludes, clusters on their way out are excluded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from talm.api.meta import ObjectMeta, Wire
from talm.sim.hubside.selectors import Selector

SET_LABEL: Final = "cluster.open-cluster-management.io/clusterset"
PLACEMENT_LABEL: Final = "cluster.open-cluster-management.io/placement"


class Taint(Wire, frozen=True, kw_only=True):
    key: str = ""
    value: str = ""
    effect: str = ""


class Claim(Wire, frozen=True, kw_only=True):
    name: str = ""
    value: str = ""


class ClusterSpec(Wire, frozen=True, kw_only=True):
    taints: tuple[Taint, ...] | None = None


class ClusterStatus(Wire, frozen=True, kw_only=True):
    cluster_claims: tuple[Claim, ...] | None = None


class Cluster(Wire, frozen=True, kw_only=True):
    """A ManagedCluster as the scheduler sees it."""

    metadata: ObjectMeta
    spec: ClusterSpec = ClusterSpec()
    status: ClusterStatus = ClusterStatus()


class Toleration(Wire, frozen=True, kw_only=True):
    key: str = ""
    operator: str = ""
    value: str = ""
    effect: str = ""

    def covers(self, taint: Taint) -> bool:
        """This toleration is about that taint (an empty key with Exists: about any)."""
        if self.effect not in ("", taint.effect):
            return False
        if self.operator == "Exists":
            return self.key in ("", taint.key)
        return self.key == taint.key and self.value == taint.value


class ClusterSelector(Wire, frozen=True, kw_only=True):
    label_selector: Selector = Selector()
    claim_selector: Selector = Selector()


class Predicate(Wire, frozen=True, kw_only=True):
    required_cluster_selector: ClusterSelector = ClusterSelector()


class PlacementSpec(Wire, frozen=True, kw_only=True):
    cluster_sets: tuple[str, ...] | None = None
    number_of_clusters: int | None = None
    predicates: tuple[Predicate, ...] | None = None
    tolerations: tuple[Toleration, ...] | None = None


class Placement(Wire, frozen=True, kw_only=True):
    metadata: ObjectMeta
    spec: PlacementSpec = PlacementSpec()


class DecisionEntry(Wire, frozen=True, kw_only=True):
    cluster_name: str = ""


class DecisionStatus(Wire, frozen=True, kw_only=True):
    decisions: tuple[DecisionEntry, ...] | None = None


class Decision(Wire, frozen=True, kw_only=True):
    """A PlacementDecision."""

    metadata: ObjectMeta
    status: DecisionStatus = DecisionStatus()

    @property
    def clusters(self) -> list[str]:
        """The names decided."""
        return [entry.cluster_name for entry in self.status.decisions or ()]


class SetBinding(Wire, frozen=True, kw_only=True):
    """A ManagedClusterSetBinding: its name is the set's."""

    metadata: ObjectMeta


def choose(
    spec: PlacementSpec, clusters: Sequence[Cluster], bound_sets: Sequence[str] | None = None
) -> list[str]:
    """The clusters that a Placement selects, by name.

    `bound_sets`: the sets bound in its namespace; None when bindings are not asked for.
    """
    chosen = [c.metadata.name for c in clusters if _fits(spec, c, bound_sets)]
    return sorted(chosen)[: spec.number_of_clusters]


def _fits(spec: PlacementSpec, cluster: Cluster, bound_sets: Sequence[str] | None) -> bool:
    meta = cluster.metadata
    labels = meta.labels or {}
    home = labels.get(SET_LABEL, "default")
    if meta.deletion_timestamp is not None or home not in (spec.cluster_sets or (home,)):
        return False
    if bound_sets is not None and not {home, "global"} & set(bound_sets):
        return False
    claims = {claim.name: claim.value for claim in cluster.status.cluster_claims or ()}
    selectors = [p.required_cluster_selector for p in spec.predicates or ()]
    if selectors and not any(
        s.label_selector.matches(labels) and s.claim_selector.matches(claims) for s in selectors
    ):
        return False
    hard = [t for t in cluster.spec.taints or () if t.effect.startswith("NoSelect")]
    return all(any(t.covers(taint) for t in spec.tolerations or ()) for taint in hard)
