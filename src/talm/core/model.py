"""What the core is given and what it gives back: plain frozen values.

    Snapshot ──decide──► Decision ──(shell carries the effects out)──► Outcomes ──settle──► Settled

`now` is a value.  Nothing here does I/O, and nothing here is changed after it was built.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from talm.api.cacherecord import CacheRecord
from talm.api.cgu import CguStatus, ClusterGroupUpgrade, PolicyRef
from talm.api.precaching import PreCachingConfig
from talm.api.progress import ProgressRecord
from talm.api.words import Hindrance, Phase

from .due import Due
from .removal import Removal

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]


class Vocabulary(enum.StrEnum):
    """Which conditions are written: the manual's, the existing operator's current ones, or both."""

    ALL = "all"
    MANUAL = "manual"
    CURRENT = "current"


@dataclass(frozen=True, slots=True)
class Rules:
    """The operator's settings as far as they decide anything."""

    vocabulary: Vocabulary = Vocabulary.ALL
    setup_deadline: dt.timedelta = dt.timedelta(minutes=30)
    unavailable_grace: dt.timedelta = dt.timedelta(minutes=10)
    allowed_workload_images: tuple[str, ...] = ()
    # A cluster cached longer ago is asked before the update starts whether it still is; None: nobody is.
    verify_after: dt.timedelta | None = None
    unpins: bool = False  # pre-caching may pin images, which are let go when the CGU is over


@dataclass(frozen=True, slots=True)
class Cluster:
    """A ManagedCluster: `available` is its availability condition; without one it counts as True.

    `since` is that condition's lastTransitionTime (None: there is no condition).  `heard` is when we heard
    that it is as it is, by our own clock (None: unknown).
    """

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    available: bool = True
    since: dt.datetime | None = None
    heard: dt.datetime | None = None


class Fact(enum.Enum):
    """What one look at a cluster can tell; a transport maps its own objects to these.

    "Ours" means of the run that asks.  Facts are about the spoke *as far as the hub has been told*.
    A member's value is its meaning.
    """

    UNASKED = "nothing on the hub asks about this cluster"
    UNANSWERED = "asked; no usable answer yet"
    STALE = "answered, but before something that must have changed the answer"
    LEFTOVERS = "the namespace is there and its deletion is under way"
    LEFTOVERS_KEPT = "the namespace is there and its deletion failed or got lost"
    CLEAN = "the namespace is gone; nothing has been set up"
    SETTING_UP = "prerequisites or Job asked for, not yet seen"
    SETUP_LOST = "something asked for failed or got lost; due for another try"
    JOB_UNASKED = "set up, and nothing on the hub asks about the Job"
    JOB_MISSING = "prerequisites are there, the Job is not and nobody creates it"
    JOB_PENDING = "the Job is there, neither active nor ended"
    JOB_ACTIVE = "the Job is active"
    JOB_SUCCEEDED = "the Job succeeded"
    JOB_DEADLINE = "the Job exceeded its deadline"
    JOB_FAILED = "the Job failed"
    JOB_OTHER = "the Job is of another run"
    JOB_UNREADY = "the Job has been active without a ready pod for a minute; why is not asked yet"
    JOB_PODLESS = "the Job has had no pod for a minute; why is not asked yet"
    JOB_RECOVERED = "the Job has a ready pod, and the one that was to tell why it had none is there"


class Effect(enum.Enum):
    """What a transport is asked to do on one cluster, each idempotent; a member's value is its meaning."""

    CLEAN_UP = "drop the hub objects of earlier runs, delete the namespace, ask for it"
    ASK = "renew the questions whose answer is stale"
    REMOVE_AGAIN = "repeat a deletion that failed or got lost"
    PREPARE = "create what the Job needs (and the Job, where the profile says so)"
    ASK_JOB = "ask about the Job"
    START_JOB = "create the Job"
    DROP_SETUP = "drop the questions that only the setup needed"
    REMOVE = "drop everything of ours: questions here, namespace there"
    WITHDRAW = "take back what has not been carried out yet: no late start"
    DIAGNOSE = "make one pod like the Job's that does nothing, and ask what keeps it from starting"
    DROP_DIAGNOSIS = "take that pod away, and the question about it"
    UNPIN = "have the pins of this run taken back: requested, never waited for"
    FINISH_REMOVAL = (
        "repeat what has failed of a removal, and ask whether the namespace is gone after all"
    )


@dataclass(frozen=True, slots=True)
class Sight:
    """One cluster as its transport sees it.

    `note` says in a sentence what is seen (an agent's error text included); `recheck` is when
    looking again may tell more although nothing was heard; `progress` is the workload's record
    as it came, `record` the same decoded (None: none has come, or it cannot be read).
    `hindrance`: something is in the way that a person may have to mend, and `note` says what.
    `due`: what must be heard next, and how soon.
    """

    fact: Fact
    note: str = ""
    recheck: dt.timedelta | None = None
    progress: Mapping[str, str] = field(default_factory=dict)
    record: ProgressRecord | None = None
    hindrance: Hindrance | None = None
    due: Due | None = None


UNSEEN: Final = Sight(Fact.UNASKED)


@dataclass(frozen=True, slots=True)
class RootPolicy:
    """A managed policy as found on the hub.

    `objects` are the objects of its templates with `mustnothave` already dropped; `broken` says why
    they could not be read ("" when they could); with `hub_templates` only the children say what they
    are.  `compliance` maps cluster -> `compliant` word ("" is unknown); a cluster that is absent is not
    matched by the policy.
    """

    namespace: str
    name: str
    enforce: bool = False
    compliance: Mapping[str, str] = field(default_factory=dict)
    objects: tuple[Mapping[str, Json], ...] = ()
    broken: str = ""
    carries_status: bool = False
    depends_on: tuple[str, ...] = ()
    hub_templates: bool = False

    @property
    def ref(self) -> PolicyRef:
        return PolicyRef(name=self.name, namespace=self.namespace)


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class ResolvedPolicy:
    """What a policy with hub templates asks of one cluster; one value serves all that it is the same for."""

    objects: tuple[Mapping[str, Json], ...] = ()
    broken: str = ""


@dataclass(frozen=True, slots=True)
class GraphQuery:
    """A question to an update graph; `arch` "" leaves the architecture to the graph."""

    upstream: str
    channel: str
    version: str
    arch: str = ""


@dataclass(frozen=True, slots=True)
class GraphAnswer:
    """`image` or `error`, never both; neither while the first answer is awaited."""

    image: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class SpecSources:
    """What the specification of the images is derived from, beside the policies.

    `config` is the PreCachingConfig that the CGU names, `config_name` its name when it is named
    (a name without a config means that it is missing).  `overrides` is the ConfigMap's data.
    """

    config: PreCachingConfig | None = None
    config_name: str = ""
    overrides: Mapping[str, str] = field(default_factory=dict)
    graph: Mapping[GraphQuery, GraphAnswer] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Blocker:
    """A CGU that must be complete first; `succeeded` is its Succeeded condition's status ("" none)."""

    name: str
    exists: bool
    succeeded: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything one pass over one CGU may look at.  Built by the shell, never changed.

    `clusters` are the ManagedClusters of the hub by name.  `policies` maps each managed policy's name
    to the root policies of that name which have a child on a selected cluster.  `owners` maps a cluster
    to the older CGU (`NAMESPACE/NAME`) that pre-caching of it belongs to; clusters of ours are absent.
    `sights` has the clusters that were looked at; the rest is unseen.  `watched_since` is when the operator
    began to see the hub without a gap (None: always).  `resolved` has the children of policies with
    hub templates, by cluster; a policy is absent until all its children are known.  `records` are
    the clusters' records of pre-caching, as far as anything may be decided by them.  `size` is how
    many bytes the CGU had when it was last written (0: not written yet).  `removals` has the clusters that
    have succeeded and whose removal is not known to be done; one that another CGU has begun with is absent.
    """

    now: dt.datetime
    rules: Rules
    cgu: ClusterGroupUpgrade
    clusters: Mapping[str, Cluster]
    policies: Mapping[str, tuple[RootPolicy, ...]] = field(default_factory=dict)
    sights: Mapping[str, Sight] = field(default_factory=dict)
    owners: Mapping[str, str] = field(default_factory=dict)
    sources: SpecSources = SpecSources()
    blockers: tuple[Blocker, ...] = ()
    placement_problems: Mapping[str, str] = field(default_factory=dict)
    watched_since: dt.datetime | None = None
    resolved: Mapping[PolicyRef, Mapping[str, ResolvedPolicy]] = field(default_factory=dict)
    records: Mapping[str, CacheRecord] = field(default_factory=dict)
    size: int = 0
    removals: Mapping[str, Removal] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Move:
    """One cluster's next phase; it counts only if all its effects were carried out.

    `goto` None: the cluster has left the plan, its entry goes away.  `why` is shown to users when the
    phase is a bad end.
    """

    cluster: str
    goto: Phase | None
    effects: tuple[Effect, ...] = ()
    why: str = ""


@dataclass(frozen=True, slots=True)
class WantedPlacement:
    """The Placement and its PlacementBinding that enforce one policy on `clusters` (may be empty)."""

    policy: PolicyRef
    name: str  # the safe name, suffix included
    desired: str  # the name without suffix
    clusters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Hold:
    """Why nothing goes on: a reason, the users' sentence, and when to look again unasked."""

    reason: str
    message: str
    look_again_after: dt.timedelta


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What became of the effects: cluster -> error text of the one that failed; absent is done.

    `hub_failed` is the error text of an effect on the hub (a Placement, the finalizer); "" is done.
    """

    failed: Mapping[str, str] = field(default_factory=dict)
    hub_failed: str = ""


@dataclass(frozen=True, slots=True)
class EventNote:
    """An event to be sent once the status is stored."""

    reason: str
    action: str
    note: str
    warning: bool = False
    cluster: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Settled:
    """What is written back: the whole status, then the events; and when to look again unasked."""

    status: CguStatus
    events: tuple[EventNote, ...] = ()
    look_again_after: dt.timedelta | None = None
