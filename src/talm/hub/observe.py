"""From the store to one frozen Snapshot: no request is made, nothing is decided."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from dataclasses import replace

from talm.api.cacherecord import CacheRecord
from talm.api.cgu import ClusterGroupUpgrade, PolicyRef, PrecachingSpec
from talm.api.pod import Nodes
from talm.api.words import (
    BAD_PHASES,
    FINAL_PHASES,
    OVERRIDES_CONFIG_MAP,
    ConditionType,
    Phase,
)
from talm.core.decide import has_succeeded_condition, is_over, stored_course
from talm.core.fleet import stored_phases
from talm.core.model import (
    Blocker,
    Fact,
    GraphAnswer,
    GraphQuery,
    ResolvedPolicy,
    RootPolicy,
    Rules,
    Sight,
    Snapshot,
    SpecSources,
)
from talm.core.placements import run_id
from talm.core.platform_image import platform_queries
from talm.core.precache_spec import workload_image
from talm.core.removal import Removal
from talm.core.selection import select
from talm.core.specifications import Specifications, stored_specifications
from talm.core.variants import Resolved, Variant, variants
from talm.core.verification import verifying_since
from talm.spokes.base import Order, PodTerms, Transport

from .graph import UpdateGraph
from .routes import Routes
from .store import Key, Store

NO_BINDINGS = "NoManagedClusterSetBindings"


class Observer:
    """Builds snapshots from one store."""

    def __init__(  # noqa: PLR0913 (the parts of the hub)
        self,
        store: Store,
        routes: Routes,
        graph: UpdateGraph,
        transport: Transport,
        *,
        rules: Rules,
        image: str,
        now: Callable[[], dt.datetime],
        watched_since: Callable[[], dt.datetime | None] = lambda: None,
    ) -> None:
        self._store = store
        self._routes = routes
        self._graph = graph
        self._transport = transport
        self._rules = rules
        self._image = image
        self._now = now
        self._watched_since = watched_since

    def observe(
        self,
        key: Key,
        recall: Callable[[ClusterGroupUpgrade], ClusterGroupUpgrade] = lambda found: found,
    ) -> Snapshot | None:
        """The snapshot of one CGU, None when it is gone.  Linear in its clusters.

        `recall` gives it back what an older CRD has pruned: with what a cluster has begun tells what
        its transport must look for.
        """
        cgu = self._store.cgu(key)
        if cgu is None:
            return None
        cgu = recall(cgu)
        now = self._now()
        clusters = self._clusters(key, cgu)
        policies = self._policies(cgu, clusters)
        found = [policy for group in policies.values() for policy in group]
        resolved = self._resolved(cgu, found, clusters)
        return Snapshot(
            # The API server's times have whole seconds, and so have ours.
            now=now.replace(microsecond=0),
            rules=self._rules,
            cgu=cgu,
            clusters=dict(self._store.clusters),  # as of now: the store changes while effects run
            policies=policies,
            sights=self._sights(cgu, now),
            owners=self._owners(cgu),
            sources=replace(self._sources(cgu), graph=self._graph_of(found, resolved, clusters)),
            blockers=tuple(self._blockers(cgu)),
            placement_problems=self._placement_problems(key),
            watched_since=self._watched_since(),
            resolved=resolved,
            records=self._records(cgu),
            removals=self._removals(cgu, now),
        )

    def order(self, cgu: ClusterGroupUpgrade, specs: Specifications | None = None) -> Order:
        """What the run of this CGU wants on its clusters; `specs` None: the stored ones."""
        sources = self._sources(cgu)
        image = workload_image(sources, self._rules.allowed_workload_images)
        meta = cgu.metadata
        specs = specs or stored_specifications(cgu.status)
        spec = specs.spec if specs is not None else PrecachingSpec()
        return Order(
            run=run_id(meta),
            cgu=meta.name,
            cgu_namespace=meta.namespace,
            spec=spec,
            job_deadline_s=cgu.spec.remediation_strategy.timeout * 60,
            clusters=len(stored_phases(cgu.status)),
            image=image or self._image,
            pod=PodTerms(nodes=Nodes.ALL if spec.nodes == Nodes.ALL else Nodes.ONE),
            others=specs.others if specs is not None else {},
        )

    def _clusters(self, key: Key, cgu: ClusterGroupUpgrade) -> frozenset[str]:
        """The clusters that policies count for: the selected and the planned; none at the end."""
        if cgu.metadata.deletion_timestamp is not None or is_over(cgu.status):
            return frozenset()
        selected = frozenset(select(cgu.spec, self._store.clusters).clusters)
        self._routes.take_part(key, selected)
        return selected.union(*(cgu.status.remediation_plan or ()))

    def _policies(
        self, cgu: ClusterGroupUpgrade, clusters: frozenset[str]
    ) -> dict[str, tuple[RootPolicy, ...]]:
        if cgu.metadata.deletion_timestamp is not None or is_over(cgu.status):
            return {}  # nothing is decided by them any more, and no update graph need be asked
        names = cgu.spec.managed_policies or ()
        return {name: self._store.root_policies(name, clusters) for name in names}

    def _resolved(
        self, cgu: ClusterGroupUpgrade, policies: Iterable[RootPolicy], clusters: Iterable[str]
    ) -> dict[PolicyRef, dict[str, ResolvedPolicy]]:
        """What hub templates have become, as far as it is known; only pre-caching wants to know."""
        resolved = {}
        for policy in policies:
            if cgu.spec.pre_caching and policy.hub_templates:
                children = self._store.resolved.of((policy.namespace, policy.name))
                if children is not None:
                    found = {c: children[c] for c in clusters if c in children}
                    resolved[policy.ref] = found
        return resolved

    def _sights(self, cgu: ClusterGroupUpgrade, now: dt.datetime) -> dict[str, Sight]:
        """A look at each cluster that is under way; at the end also at those not started."""
        order = self.order(cgu)
        leaving = cgu.metadata.deletion_timestamp is not None or has_succeeded_condition(cgu.status)
        sights = {}
        for cluster, phase in stored_phases(cgu.status).items():
            if phase in FINAL_PHASES or (phase is Phase.NOT_STARTED and not leaving):
                continue
            sight = self._transport.look(cluster, order.for_cluster(cluster), now)
            if phase is not Phase.NOT_STARTED or sight.fact is not Fact.UNASKED:
                sights[cluster] = sight
        return sights

    def _removals(self, cgu: ClusterGroupUpgrade, now: dt.datetime) -> dict[str, Removal]:
        """Removals that are not known to be done, but of clusters that another CGU has begun with.

        A CGU that is over hears of nothing else any more.
        """
        key, phases = cgu.metadata.key, stored_phases(cgu.status)
        asked = self._transport.removals(
            self.order(cgu), now, lambda cluster: phases.get(cluster) is Phase.SUCCEEDED
        )
        found = {c: stands for c, stands in asked.items() if not self._is_another_s(key, c)}
        self._routes.follow(key, found if is_over(cgu.status) else ())
        return found

    def _is_another_s(self, key: Key, cluster: str) -> bool:
        others = (self._store.cgu(other) for other in self._routes.sharing(cluster) if other != key)
        return any(other is not None and claims(other, cluster) for other in others)

    def _records(self, cgu: ClusterGroupUpgrade) -> dict[str, CacheRecord]:
        """What the hub says is cached, of clusters whose update, or whose batch, may be about to start."""
        if self._rules.verify_after is None or not cgu.spec.pre_caching:
            return {}
        found = {c: self._store.records.get(c) for c in _about_to_start(cgu)}
        return {cluster: record for cluster, record in found.items() if record is not None}

    def _owners(self, cgu: ClusterGroupUpgrade) -> dict[str, str]:
        """Whose cluster: the oldest CGU that has claimed it and not finished there.

        Where this CGU itself has finished badly, whoever claims the cluster now has it: what is on the
        spoke is theirs, and our farewell must not touch it.
        """
        owners = {}
        mine, alone = _age(cgu), {cgu.metadata.key}
        for cluster, phase in stored_phases(cgu.status).items():
            sharing = self._routes.sharing(cluster)
            if sharing <= alone:
                continue
            others = [
                other
                for key in sharing
                if key != cgu.metadata.key
                and (other := self._store.cgu(key)) is not None
                and (_age(other) < mine or phase in BAD_PHASES)
                and claims(other, cluster)
            ]
            if others:
                owners[cluster] = "/".join(min(others, key=_age).metadata.key)
        return owners

    def _sources(self, cgu: ClusterGroupUpgrade) -> SpecSources:
        ref = cgu.spec.pre_caching_config_ref
        namespace = cgu.metadata.namespace
        name = ref.name if ref is not None else ""
        config = None
        if ref is not None and name:
            config = self._store.configs.get(name, ref.namespace or namespace)
        found = self._store.overrides.get(OVERRIDES_CONFIG_MAP, namespace)
        overrides = (found.data or {}) if found is not None else {}
        return SpecSources(config=config, config_name=name, overrides=overrides)

    def _graph_of(
        self, policies: Iterable[RootPolicy], resolved: Resolved, clusters: Iterable[str]
    ) -> dict[GraphQuery, GraphAnswer]:
        """The update graph's answers as far as they are known; unknown ones are asked for.

        The policies as they stand, too: without pre-caching nobody resolves them.
        """
        roots = tuple(policies)
        return {
            query: self._graph.ask(query)
            for variant in (Variant(roots), *(variants(roots, resolved, clusters) or ()))
            for query in platform_queries(variant.policies)
        }

    def _blockers(self, cgu: ClusterGroupUpgrade) -> Iterable[Blocker]:
        for ref in cgu.spec.blocking_crs or ():
            other = self._store.cgu((ref.namespace, ref.name))
            yield Blocker(ref.name, other is not None, ended_with(other) if other else "")

    def _placement_problems(self, key: Key) -> dict[str, str]:
        """Only an explicit refusal counts: status may be absent, and that holds nobody up."""
        problems = {}
        for placement in self._store.placements.by("cgu", "/".join(key)):
            for condition in (placement.status.conditions or ()) if placement.status else ():
                if condition.status == "False" and condition.reason == NO_BINDINGS:
                    name, namespace = placement.metadata.name, placement.metadata.namespace
                    problems[name] = (
                        f'Placement "{name}" in namespace "{namespace}" cannot select clusters: '
                        f'{condition.message}. Create a ManagedClusterSetBinding for the "default" '
                        "ManagedClusterSet in the policy namespace."
                    )
        return problems


def _about_to_start(cgu: ClusterGroupUpgrade) -> Iterable[str]:
    course = stored_course(cgu.status)
    if course is not None:
        return course.upcoming
    is_near = cgu.spec.enable or verifying_since(cgu.status) is not None
    return stored_phases(cgu.status) if is_near else ()


def claims(cgu: ClusterGroupUpgrade, cluster: str) -> bool:
    """True while pre-caching of the cluster belongs to this CGU: its open state is stored there."""
    if is_over(cgu.status) or cgu.status.precaching is None:
        return False
    word = (cgu.status.precaching.status or {}).get(cluster)
    return word is not None and word not in FINAL_PHASES


def ended_with(cgu: ClusterGroupUpgrade) -> str:
    """The status of the end: `Succeeded`, or in the manual's vocabulary `Ready` once it is over."""
    by_type = {c.type: c.status for c in cgu.status.conditions or ()}
    if ConditionType.SUCCEEDED in by_type:
        return by_type[ConditionType.SUCCEEDED]
    return by_type.get(ConditionType.READY, "") if is_over(cgu.status) else ""


def _age(cgu: ClusterGroupUpgrade) -> tuple[float, str]:
    created = cgu.metadata.creation_timestamp
    return (created.timestamp() if created else 0.0, cgu.metadata.uid)
