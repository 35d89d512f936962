"""Which Placement enforces which policy, and what it is called.

A restricted PlacementBinding with an enforce override makes the policy engine enforce on exactly the
clusters that its Placement lists (open-cluster-management, governance-policy-propagator).
Names as in the existing operator; its five random characters are here derived from the CGU's uid, so
that a restarted process finds its own objects.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

from talm.api.cgu import PolicyRef
from talm.api.meta import ObjectMeta
from talm.api.words import NAME_SUFFIX_ANNOTATION

from .model import WantedPlacement

MAX_NAME: Final = 253
SUFFIX_LENGTH: Final = 5
ALPHABET: Final = (
    "bcdfghjklmnpqrstvwxz2456789"  # as Kubernetes' generated names: no vowels, no words
)


def name_suffix(meta: ObjectMeta) -> str:
    """The annotation's value when the CGU has it, else five characters of its uid's hash."""
    if meta.annotations and (given := meta.annotations.get(NAME_SUFFIX_ANNOTATION)):
        return given
    digest = hashlib.sha256(f"{meta.namespace}/{meta.name}/{meta.uid}".encode()).digest()
    return "".join(ALPHABET[byte % len(ALPHABET)] for byte in digest[:SUFFIX_LENGTH])


def safe_name(desired: str, namespace: str, suffix: str) -> str:
    """Lower-case, cut so that suffix and namespace fit, suffix appended."""
    room = MAX_NAME - len(suffix) - len(namespace) - 1
    return f"{desired.lower()[:room]}-{suffix}"


def run_id(meta: ObjectMeta) -> str:
    """The run that this CGU's hub objects and Jobs carry in a label: new with each new CGU."""
    seed = f"{meta.namespace}/{meta.name}/{meta.uid}"
    return hashlib.sha256(seed.encode()).hexdigest()[:16]


def wanted_placements(
    meta: ObjectMeta,
    policies: Sequence[PolicyRef],
    enforced: Mapping[PolicyRef, tuple[str, ...]],
) -> tuple[WantedPlacement, ...]:
    """One per policy, in the policies' order; clusters sorted so that equal content compares equal."""
    suffix = name_suffix(meta)
    wanted = []
    for ref in policies:
        desired = f"{meta.name}-{ref.name}-placement"
        name = safe_name(desired, ref.namespace, suffix)
        clusters = tuple(sorted(enforced.get(ref, ())))
        wanted.append(WantedPlacement(policy=ref, name=name, desired=desired, clusters=clusters))
    return tuple(wanted)
