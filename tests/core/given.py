"""The manual's CGU and its hub at any moment: what the tests of the core start from."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from talm.api.cgu import (
    CguSpec,
    CguStatus,
    ClusterGroupUpgrade,
    PrecachingSpec,
    PrecachingStatus,
    RemediationStrategy,
)
from talm.api.meta import Condition, ObjectMeta, changed
from talm.api.words import FINALIZER, Phase
from talm.core.clock import Clock
from talm.core.deadlines import to_wire
from talm.core.decide import decide
from talm.core.model import (
    Cluster,
    Fact,
    Json,
    Outcomes,
    RootPolicy,
    Rules,
    Settled,
    Sight,
    Snapshot,
    SpecSources,
)
from talm.core.settle import settle

NOW: Final = dt.datetime(2022, 1, 27, 19, 0, 0, tzinfo=dt.UTC)
POLICY: Final = "du-upgrade-platform-upgrade"
IMAGE: Final = "quay.io/openshift-release-dev/ocp-release@sha256:" + "3d5800990dee7cd4727d3fe238a97e2d2976d3808fc925ada29c559a47e2e1ef"  # fmt: skip  # noqa: E501
CNFDB: Final = ("cnfdb1", "cnfdb2")
SPEC: Final = PrecachingSpec(platform_image=IMAGE, space_required="35")

EMPTY: Final = CguStatus()
DONE: Final = Outcomes()
META: Final = ObjectMeta(
    name="du-upgrade-4918",
    namespace="ztp-group-du-sno",
    uid="7f4c1a52-1b6b-4d43-9a0c-26c3c8d1d2f1",
    creation_timestamp=NOW,
    finalizers=(FINALIZER,),
)


def later(*, seconds: float = 0, minutes: float = 0) -> dt.datetime:
    """A moment after `NOW`."""
    return NOW + dt.timedelta(seconds=seconds, minutes=minutes)


def cgu(
    status: CguStatus = EMPTY,
    *,
    meta: ObjectMeta = META,
    strategy: Mapping[str, Any] | None = None,
    **spec: Any,
) -> ClusterGroupUpgrade:
    """The manual's object; `strategy` and the rest change its spec (attribute names)."""
    strategy = {"max_concurrency": 2, "timeout": 240} | dict(strategy or {})
    base = CguSpec(
        pre_caching=True,
        enable=False,
        clusters=CNFDB,
        managed_policies=(POLICY,),
        remediation_strategy=RemediationStrategy(**strategy),
    )
    return ClusterGroupUpgrade(metadata=meta, spec=changed(base, **spec), status=status)


def policy(name: str = POLICY, *, compliant: Iterable[str] = (), **more: Any) -> RootPolicy:
    """The manual's policy asks for a release; all clusters but `compliant` are NonCompliant."""
    done = set(compliant)
    clusters = more.pop("clusters", CNFDB)
    words = {c: "Compliant" if c in done else "NonCompliant" for c in clusters}
    version: Mapping[str, Json] = {
        "apiVersion": "config.openshift.io/v1",
        "kind": "ClusterVersion",
        "metadata": {"name": "version"},
        "spec": {"desiredUpdate": {"image": more.pop("image", IMAGE)}},
    }
    return RootPolicy("ztp-group", name, compliance=words, objects=(version,), **more)


def snapshot(
    of: ClusterGroupUpgrade | None = None,
    *,
    facts: Mapping[str, Fact | Sight] | None = None,
    policies: Iterable[RootPolicy] | None = None,
    **more: Any,
) -> Snapshot:
    """The hub around the CGU: both clusters known and available, the policy not complied with."""
    found = (policy(),) if policies is None else tuple(policies)
    sights = {c: f if isinstance(f, Sight) else Sight(f) for c, f in (facts or {}).items()}
    base = Snapshot(
        now=NOW,
        rules=Rules(),
        cgu=of if of is not None else cgu(),
        clusters={c: Cluster(c) for c in CNFDB},
        policies={p.name: (p,) for p in found},
        sights=sights,
        sources=SpecSources(),
    )
    return replace(base, **more)


def precaching(
    phases: Mapping[str, Phase],
    *,
    waits: Mapping[str, Clock] | None = None,
    spec: PrecachingSpec = SPEC,
) -> PrecachingStatus:
    """`status.precaching` as it is stored while clusters are in `phases`."""
    return PrecachingStatus(
        spec=spec,
        status={c: p.value for c, p in phases.items()},
        clusters=tuple(phases),
        waits=to_wire(waits) if waits else None,
    )


def status(phases: Mapping[str, Phase], **more: Any) -> CguStatus:
    """A stored status with clusters in `phases`."""
    waits = more.pop("waits", None)
    spec = more.pop("spec", SPEC)
    return CguStatus(precaching=precaching(phases, waits=waits, spec=spec), **more)


def both(phase: Phase) -> dict[str, Phase]:
    """Both clusters in the same state."""
    return dict.fromkeys(CNFDB, phase)


def one_pass(seen: Snapshot, outcomes: Outcomes = DONE) -> Settled:
    """Decide and settle, with these outcomes of the effects."""
    return settle(seen, decide(seen), outcomes)


def stored(seen: Snapshot, outcomes: Outcomes = DONE, **changes: Any) -> Snapshot:
    """The snapshot of the next pass: what this one stored, and what changes meanwhile."""
    after = changed(seen.cgu, status=one_pass(seen, outcomes).status)
    return replace(seen, **{"cgu": after} | changes)


def conditions(status: CguStatus) -> dict[str, tuple[str, str, str]]:
    """Type -> (status, reason, message)."""
    return {c.type: (c.status, c.reason, c.message) for c in status.conditions or ()}


def condition(kind: str, status: str, reason: str = "", message: str = "") -> Condition:
    """A condition that was written at `NOW`."""
    return Condition(
        type=kind, status=status, reason=reason, message=message, last_transition_time=NOW
    )
