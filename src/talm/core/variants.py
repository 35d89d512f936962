"""What policies ask for where they have hub templates: cluster by cluster, as the hub has resolved them.

A root policy with `{{hub … hub}}` says nothing by itself; its child in a cluster's namespace does.
Clusters for which all children ask for the same are one variant, and variants that come to the same
specification share it.  One variant without a valid one holds them all: whoever is told that a CGU
begins may rely on all its clusters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from talm.api.cgu import ClusterGroupUpgrade, PolicyRef, PrecachingSpec

from .model import GraphQuery, ResolvedPolicy, RootPolicy, SpecSources
from .platform_image import Pending
from .policies import Standing, compliance
from .precache_spec import Invalid, SpecVerdict, derive, spec_hash
from .specifications import MAX_OTHERS, Specifications, elect, too_many

Resolved = Mapping[PolicyRef, Mapping[str, ResolvedPolicy]]


@dataclass(frozen=True, slots=True)
class Variant:
    """The policies as they are for some clusters, of which `first` is one; "": as they stand.

    `clusters` are all of these; empty where it is the only variant whatever the clusters.
    """

    policies: tuple[RootPolicy, ...]
    first: str = ""
    clusters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Derived:
    """The specification of every cluster, valid; `warnings` are about what was given in vain."""

    specs: Specifications
    warnings: tuple[str, ...] = ()


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
    groups: dict[tuple[ResolvedPolicy | bool, ...], list[str]] = {}
    for cluster in clusters:
        asked = tuple(_asked(p, resolved[p.ref], cluster) for p in templated)
        groups.setdefault(asked, []).append(cluster)
    refs = [policy.ref for policy in templated]
    return tuple(
        Variant(
            _put_in(policies, dict(zip(refs, asked, strict=True))),
            group[0] if any(isinstance(one, ResolvedPolicy) for one in asked) else "",
            tuple(group) if len(groups) > 1 else (),
        )
        for asked, group in groups.items()
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
    *,
    prefer: str = "",
) -> Derived | Invalid | Pending:
    """Derive the specification of each variant; `prefer` is the hash that stays the commonest on a tie.

    Invalid as soon as one is, or when there are more than a CGU's status holds.
    """
    waits_for: set[GraphQuery] = set()
    by_hash: dict[str, PrecachingSpec] = {}
    own: dict[str, str] = {}
    warnings: dict[str, None] = {}
    for variant in found:
        verdict = _derive(cgu, variant, sources, allowed_workload_images)
        if isinstance(verdict, Invalid):
            return verdict
        if isinstance(verdict, Pending):
            waits_for |= verdict.queries
            continue
        name = spec_hash(verdict.spec)
        by_hash.setdefault(name, verdict.spec)
        own |= dict.fromkeys(variant.clusters, name)
        warnings |= dict.fromkeys(verdict.warnings)
        if len(by_hash) > MAX_OTHERS + 1:
            break  # whatever comes yet, it is too much
    if refusal := too_many(by_hash):
        return Invalid(refusal, tuple(warnings))
    if waits_for or not by_hash:
        return Pending(frozenset(waits_for))
    return Derived(elect(by_hash, own, prefer), tuple(warnings))


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
