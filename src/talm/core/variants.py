"""What policies ask for where they have hub templates: cluster by cluster, as the hub has resolved them.

A root policy with `{{hub … hub}}` says nothing by itself; its child in a cluster's namespace does.
Clusters for which all children ask for the same are one variant.  All variants must come to one
specification: a CGU has one for all its clusters, and which it is must not depend on the cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from talm.api.cgu import ClusterGroupUpgrade, PolicyRef

from .model import GraphQuery, ResolvedPolicy, RootPolicy, SpecSources
from .platform_image import Pending
from .policies import Standing, compliance
from .precache_spec import Invalid, SpecVerdict, Valid, derive, spec_hash

Resolved = Mapping[PolicyRef, Mapping[str, ResolvedPolicy]]


@dataclass(frozen=True, slots=True)
class Variant:
    """The policies as they are for some clusters, of which `first` is one; "": as they stand."""

    policies: tuple[RootPolicy, ...]
    first: str = ""


def variants(
    policies: Sequence[RootPolicy], resolved: Resolved, clusters: Iterable[str]
) -> tuple[Variant, ...] | None:
    """Group the clusters by what is asked of them; None while the hub has not told of all policies.

    A policy asks nothing of a cluster that it does not match.  One that does and has no child there
    stands as it is, templates included.  Linear in clusters times policies.
    """
    templated = [policy for policy in policies if policy.hub_templates]
    if not templated:
        return (Variant(tuple(policies)),)
    if any(policy.ref not in resolved for policy in templated):
        return None
    firsts: dict[tuple[ResolvedPolicy | bool, ...], str] = {}
    for cluster in clusters:
        firsts.setdefault(tuple(_asked(p, resolved[p.ref], cluster) for p in templated), cluster)
    refs = [policy.ref for policy in templated]
    return tuple(
        Variant(
            _put_in(policies, dict(zip(refs, asked, strict=True))),
            first if any(isinstance(one, ResolvedPolicy) for one in asked) else "",
        )
        for asked, first in firsts.items()
    )


def _asked(
    policy: RootPolicy, children: Mapping[str, ResolvedPolicy], cluster: str
) -> ResolvedPolicy | bool:
    """What the policy asks of the cluster; without a child: whether it asks anything."""
    matches = compliance(policy, cluster) is not Standing.NOT_MATCHED
    return children.get(cluster, matches)


def derive_for_all(
    cgu: ClusterGroupUpgrade,
    found: Sequence[Variant],
    sources: SpecSources,
    allowed_workload_images: Sequence[str],
) -> SpecVerdict:
    """Derive the specification of each variant; the verdict is that of all when they agree."""
    waits_for: set[GraphQuery] = set()
    agreed: tuple[Valid, str] | None = None
    for variant in found:
        verdict = _derive(cgu, variant, sources, allowed_workload_images)
        match verdict:
            case Invalid():
                return verdict
            case Pending():
                waits_for |= verdict.queries
            case Valid() if agreed is None:
                agreed = (verdict, variant.first)
            case Valid() if spec_hash(verdict.spec) != spec_hash(agreed[0].spec):
                return _at_odds(agreed[1], variant.first, verdict.warnings)
    if agreed is None or waits_for:
        return Pending(frozenset(waits_for))
    return agreed[0]


def _derive(
    cgu: ClusterGroupUpgrade, variant: Variant, sources: SpecSources, allowed: Sequence[str]
) -> SpecVerdict:
    broken = next((policy for policy in variant.policies if policy.broken), None)
    if broken is not None:
        where = f"policy {broken.namespace}/{broken.name} on cluster {variant.first}"
        return Invalid(f"{where}: {broken.broken}")
    verdict = derive(cgu, variant.policies, sources, allowed)
    if isinstance(verdict, Invalid) and variant.first:
        return replace(verdict, why=f"{verdict.why} (on cluster {variant.first})")
    return verdict


def _at_odds(one: str, other: str, warnings: tuple[str, ...]) -> Invalid:
    why = (
        f"the policies ask for something else on cluster {one} than on cluster {other};"
        " the clusters of one ClusterGroupUpgrade must be asked for the same"
    )
    return Invalid(why, warnings)


def _put_in(
    policies: Iterable[RootPolicy], asked: Mapping[PolicyRef, ResolvedPolicy | bool]
) -> tuple[RootPolicy, ...]:
    put = []
    for policy in policies:
        child = asked.get(policy.ref, True)
        if isinstance(child, ResolvedPolicy):
            put.append(replace(policy, objects=child.objects, broken=child.broken))
        elif child:
            put.append(policy)
    return tuple(put)
