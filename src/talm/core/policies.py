"""What the managed policies say: which can be acted on, which need enforcing, on which clusters.

Decided here: missing, invalid, ambiguous, already complied with, for upgrade; a cluster's standing.
Not here: what a policy asks to be downloaded (precache_spec.py), when it is enforced (rollout.py).
"""

from __future__ import annotations

import datetime as dt
import enum
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from talm.api.cgu import ClusterGroupUpgrade, PolicyRef
from talm.api.words import Compliance, Reason

from .model import Hold, RootPolicy
from .objects import is_a, text_at

ONE_MINUTE: Final = dt.timedelta(minutes=1)
FIVE_MINUTES: Final = dt.timedelta(minutes=5)
OLM_GROUP: Final = "operators.coreos.com"


class Standing(enum.Enum):
    """How one cluster stands to one policy."""

    COMPLIANT = enum.auto()
    NON_COMPLIANT = enum.auto()  # NonCompliant, Pending or not known
    NOT_MATCHED = enum.auto()  # the policy is not for this cluster


@dataclass(frozen=True, slots=True)
class Assessment:
    """What `assess` found out; all in the order of `managedPolicies`, each name once.

    `missing`, `invalid` and `ambiguous` (name -> its namespaces, sorted) are problems;
    `compliant_before` and `for_upgrade` are what to act on, meaningless while there is a problem.
    `non_compliant` are the clusters for the remediation plan, in the order of the selection.
    """

    missing: tuple[str, ...] = ()
    invalid: tuple[str, ...] = ()
    ambiguous: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    compliant_before: tuple[RootPolicy, ...] = ()
    for_upgrade: tuple[RootPolicy, ...] = ()
    non_compliant: tuple[str, ...] = ()

    @property
    def problem(self) -> Hold | None:
        """Why the policies cannot be acted on, in the words of the Validated condition."""
        return _problem(self)

    @property
    def manual_message(self) -> str:
        """The same in the manual's words, for Ready=False/UpgradeCannotStart; "" is none.

        The manual knows no ambiguity: that has the current words.
        """
        return _manual_message(self)

    @property
    def in_spec_order(self) -> tuple[RootPolicy, ...]:
        """The policies that the images are derived from, in the existing operator's order."""
        return self.for_upgrade + self.compliant_before

    @property
    def refs(self) -> tuple[PolicyRef, ...]:
        """`status.managedPoliciesForUpgrade`."""
        return tuple(policy.ref for policy in self.for_upgrade)

    @property
    def compliant_names(self) -> tuple[str, ...]:
        """`status.managedPoliciesCompliantBeforeUpgrade`."""
        return tuple(policy.name for policy in self.compliant_before)

    @property
    def namespaces(self) -> dict[str, str]:
        """`status.managedPoliciesNs`: the policies in play, so not those that enforce already."""
        return {policy.name: policy.namespace for policy in self.in_spec_order}

    @property
    def content(self) -> dict[str, str]:
        """`status.managedPoliciesContent`: what to watch for approvals, by policy."""
        return managed_content(self.for_upgrade)


def assess(
    cgu: ClusterGroupUpgrade,
    selected: Sequence[str],
    policies: Mapping[str, tuple[RootPolicy, ...]],
) -> Assessment:
    """Sort the managed policies by what is to be done about them; policies x clusters look-ups.

    A policy that enforces by itself is passed over in silence, whatever else is wrong with it.
    Only managed policies count: a stranger of the same name as another stranger holds nobody up.
    """
    missing: list[str] = []
    invalid: list[str] = []
    ambiguous: dict[str, tuple[str, ...]] = {}
    before: list[RootPolicy] = []
    upgrade: list[RootPolicy] = []
    for name in dict.fromkeys(cgu.spec.managed_policies or ()):
        found = policies.get(name, ())
        informing = [policy for policy in found if not policy.enforce]
        if not found:
            missing.append(name)
        elif len(informing) > 1:
            ambiguous[name] = tuple(sorted(policy.namespace for policy in informing))
        elif informing and informing[0].broken:
            invalid.append(name)
        elif informing:
            group = before if _is_complied_with(informing[0], selected) else upgrade
            group.append(informing[0])
    return Assessment(
        missing=tuple(missing),
        invalid=tuple(invalid),
        ambiguous=ambiguous,
        compliant_before=tuple(before),
        for_upgrade=tuple(upgrade),
        non_compliant=non_compliant_clusters(selected, upgrade),
    )


def compliance(policy: RootPolicy, cluster: str) -> Standing:
    """Read the cluster's standing from the root policy's status, one look-up.

    A policy without any status has not been evaluated: non-compliant for everybody.
    """
    word = policy.compliance.get(cluster)
    if word is None:
        return Standing.NOT_MATCHED if policy.compliance else Standing.NON_COMPLIANT
    return Standing.COMPLIANT if word == Compliance.COMPLIANT else Standing.NON_COMPLIANT


def non_compliant_clusters(
    selected: Sequence[str], for_upgrade: Sequence[RootPolicy]
) -> tuple[str, ...]:
    """Keep the clusters that have something to be enforced; not being matched is nothing."""
    return tuple(
        cluster
        for cluster in selected
        if any(compliance(policy, cluster) is Standing.NON_COMPLIANT for policy in for_upgrade)
    )


def unresolvable_dependency(for_upgrade: Sequence[RootPolicy]) -> Hold | None:
    """Find a policy that waits for one which is enforced after it: neither would ever be done."""
    later = {label for policy in for_upgrade for label in _labels(policy)}
    for policy in for_upgrade:
        later.difference_update(_labels(policy))
        for dependency in policy.depends_on:
            if dependency in later:
                name = dependency.rpartition("/")[2]
                message = (
                    f"Managed Policy {policy.name} depends on {name},"
                    " which is to be remediated later"
                )
                return Hold(Reason.UNRESOLVABLE_DEPENDENCY, message, FIVE_MINUTES)
    return None


def managed_content(for_upgrade: Iterable[RootPolicy]) -> dict[str, str]:
    """List the operator subscriptions of each policy that has any, as compact JSON.

    Readers compare the text: its keys are in the order kind, name, apiVersion, namespace.
    """
    found = {policy.name: _subscriptions(policy) for policy in for_upgrade}
    return {name: _compact(entries) for name, entries in found.items() if entries}


def go_list(names: Iterable[str]) -> str:
    """Print names as Go prints a slice: messages of the existing operator contain it."""
    return f"[{' '.join(names)}]"


def _is_complied_with(policy: RootPolicy, selected: Sequence[str]) -> bool:
    """Judge "compliant before": every cluster is, and a cluster that is not matched is not.

    A template with a status asks about something that happens over time: always for upgrade.
    """
    return not policy.carries_status and all(
        compliance(policy, cluster) is Standing.COMPLIANT for cluster in selected
    )


def _labels(policy: RootPolicy) -> tuple[str, str]:
    """Name a policy as a dependency may: with or without its namespace."""
    return (policy.name, f"{policy.namespace}/{policy.name}")


def _problem(seen: Assessment) -> Hold | None:
    if seen.ambiguous:
        return Hold(Reason.AMBIGUOUS_POLICY_NAMES, _ambiguity(seen.ambiguous), ONE_MINUTE)
    if seen.invalid:  # goes before missing: the existing operator overwrites the other text
        message = f"Invalid managed policies: {go_list(seen.invalid)} "
    elif seen.missing:
        message = f"Missing managed policies: {go_list(seen.missing)} "
    else:
        return None
    return Hold(Reason.NOT_ALL_MANAGED_POLICIES_EXIST, message, ONE_MINUTE)


def _manual_message(seen: Assessment) -> str:
    if seen.ambiguous:
        return _ambiguity(seen.ambiguous)
    missing = f"missing managed policies: {go_list(seen.missing)} " if seen.missing else ""
    invalid = f"invalid managed policies: {go_list(seen.invalid)} " if seen.invalid else ""
    return f"The ClusterGroupUpgrade CR has: {missing}{invalid}" if missing or invalid else ""


def _ambiguity(ambiguous: Mapping[str, tuple[str, ...]]) -> str:
    found = _compact(dict(sorted(ambiguous.items())))
    return (
        "Managed policy name should be unique,"
        f" but was found in multiple namespaces: {found} "  # the blank at the end is theirs
    )


def _subscriptions(policy: RootPolicy) -> list[dict[str, str]]:
    """Only Subscriptions that can be found again: with name and namespace."""
    entries = []
    for found in policy.objects:
        entry = {
            "kind": "Subscription",
            "name": text_at(found, "metadata", "name"),
            "apiVersion": text_at(found, "apiVersion"),
            "namespace": text_at(found, "metadata", "namespace"),
        }
        if is_a(found, "Subscription", OLM_GROUP) and all(entry.values()):
            entries.append(entry)
    return entries


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
