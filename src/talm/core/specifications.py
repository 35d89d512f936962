"""Which specification is whose: the commonest, and of whom another one is asked (hub templates).

    asked of a cluster now     derived from its policies again in every pass (variants.py)
    begun with by a cluster    stored: `status.precaching.specs[].begun`, or else `status.precaching.spec`

Decided here: which is the commonest, how many others a status holds, how they are stored and read.  Whether
a cluster's cache is outdated is for renewal.py to say.  Where all clusters agree nothing is kept by
cluster.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from talm.api.cgu import CguStatus, OtherSpecification, PrecachingSpec
from talm.api.meta import json_size

from .fleet import Phases, stored_phases
from .folding import fold, unfold
from .precache import BEFORE_SETUP
from .precache_spec import spec_hash

# With the names of those who have begun a CGU of 5,000 clusters stays below the 1 MiB that Kubernetes
# stores, all other fields filled.  Usual specifications have some 600 bytes.
MAX_OTHERS: Final = 50
MAX_BYTES: Final = 32 * 1024


@dataclass(frozen=True, slots=True)
class Specifications:
    """Specifications by hash; `of` has the clusters whose own is not the `common` one."""

    common: str
    by_hash: Mapping[str, PrecachingSpec]
    of: Mapping[str, str] = field(default_factory=dict)

    @property
    def spec(self) -> PrecachingSpec:
        """The commonest."""
        return self.by_hash[self.common]

    def hash_of(self, cluster: str) -> str:
        return self.of.get(cluster, self.common)

    def of_cluster(self, cluster: str) -> PrecachingSpec:
        """The cluster's own."""
        return self.by_hash[self.hash_of(cluster)]

    @property
    def others(self) -> dict[str, PrecachingSpec]:
        """Cluster -> its own, where that is not the commonest."""
        return {cluster: self.by_hash[found] for cluster, found in self.of.items()}


def one_for_all(spec: PrecachingSpec) -> Specifications:
    """All clusters agree."""
    name = spec_hash(spec)
    return Specifications(name, {name: spec})


def elect(
    by_hash: Mapping[str, PrecachingSpec], own: Mapping[str, str], prefer: str = ""
) -> Specifications:
    """Put the commonest of the clusters' `own` in front; `prefer`, then the least hash breaks a tie.

    Of nobody at all, or of one specification, there is nothing to elect: `by_hash` must have one then.
    """
    counts = Counter(own.values())
    common = min(by_hash, key=lambda name: (-counts[name], name != prefer, name))
    return Specifications(common, by_hash, {c: name for c, name in own.items() if name != common})


def too_many(by_hash: Mapping[str, PrecachingSpec]) -> str:
    """Why a CGU cannot hold all these, "" when it can."""
    divide = "divide the clusters among several ClusterGroupUpgrades"
    if len(by_hash) - 1 > MAX_OTHERS:
        return f"the policies ask the clusters for more than {MAX_OTHERS + 1} different things; {divide}"
    if len(by_hash) > 1 and sum(map(json_size, by_hash.values())) > MAX_BYTES:
        size = f"more than {MAX_BYTES // 1024} KiB"
        return f"the policies ask the clusters for different things that take {size}; {divide}"
    return ""


def stored_specifications(status: CguStatus) -> Specifications | None:
    """What is stored, and who has begun with which; None while there is no valid one.

    Once the update has started nothing is derived any more: whoever goes the way again (turns.py) keeps
    what it had begun with.
    """
    stored = status.precaching
    if stored is None or stored.spec is None or stored.spec == PrecachingSpec():
        return None
    if not stored.specs:
        return one_for_all(stored.spec)
    common = spec_hash(stored.spec)
    by_hash = {common: stored.spec}
    of: dict[str, str] = {}
    phases = stored_phases(status)
    is_frozen = status.status is not None and status.status.started_at is not None
    for entry in stored.specs:
        if entry.spec is None:
            continue
        name = spec_hash(entry.spec)
        by_hash.setdefault(name, entry.spec)
        begun = unfold(entry.begun or ())
        of |= {
            c: name for c in begun if c in phases and (is_frozen or phases[c] not in BEFORE_SETUP)
        }
    return Specifications(common, by_hash, of)


def to_wire(found: Specifications, phases: Phases) -> tuple[OtherSpecification, ...] | None:
    """What is stored beside the commonest, once clusters are in `phases`; by hash, None for nothing."""
    clusters: dict[str, list[str]] = {}
    for cluster, name in found.of.items():
        if cluster in phases:
            clusters.setdefault(name, []).append(cluster)
    entries = (
        OtherSpecification(
            hash=name,
            spec=found.by_hash[name],
            clusters=len(having),
            begun=fold(c for c in having if phases[c] not in BEFORE_SETUP) or None,
        )
        for name, having in sorted(clusters.items())
    )
    return tuple(entries) or None
