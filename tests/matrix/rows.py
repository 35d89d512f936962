"""The rows of the matrix: what goes wrong, what must come of it, and how it is played.

A row without a play of its own is a CGU whose clusters are struck when it is created.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from talm.spokes.bycluster import Way

from .mixtures import SEEDS, mixture
from .plays import Play, detached, duplicated, plain, unresolved

BOTH: Final = (Way.VIEW_ACTION, Way.MANIFEST_WORK)
VIEWS: Final = (Way.VIEW_ACTION,)
WORKS: Final = (Way.MANIFEST_WORK,)
ALL_SUCCEED: Final = "every cluster succeeds"


class Crew(enum.Enum):
    """Who runs the operator while the row is played."""

    ONE = "one operator"
    HURRIED = "one that gives a setup little time"
    KILLED = "one that is killed again and again"
    RELIEVED = "two, of which the one that leads is killed"
    REFUSED = "one whose requests fail one time in ten"
    ALL = "one that is killed and whose requests fail"


@dataclass(frozen=True)
class Row:
    """`happens`, `must`: for the page.  `faults`: as for `talm sim --faults`, drawn per transport.

    `early`: struck before the policy is there; `tolerant` False: the policy's placement drops clusters
    that are unreachable; `jobs`: the most that one cluster may see; `job_s`: how long Jobs run, at least and
    at most, in the spokes' time.
    """

    name: str
    happens: str
    must: str = ALL_SUCCEED
    faults: str = ""
    play: Play = plain
    ways: tuple[Way, ...] = BOTH
    crew: Crew = Crew.ONE
    enable: bool = False
    early: bool = False
    tolerant: bool = True
    templated: bool = False
    childless: bool = False
    plain: bool = True
    jobs: int = 1
    job_s: tuple[float, float] = (20.0, 60.0)


ROWS: Final[tuple[Row, ...]] = (
    Row(
        "lock-step",
        "nothing, but that all clusters do the same at the same moment",
        job_s=(20.0, 20.0),
    ),
    Row("offline", "a link is down before the start", faults="offline=20%,offline-for=15"),
    Row(
        "offline-setup",
        "a link goes down when the namespace was made",
        faults="cut-at-namespace=20%,offline-for=15",
    ),
    Row(
        "offline-active",
        "a link goes down while the Job is active",
        faults="cut-when-active=20%,offline-for=15",
    ),
    Row(
        "offline-success",
        "a link goes down at the moment of success",
        faults="cut-at-success=20%,offline-for=15",
    ),
    Row(
        "offline-short",
        "a link is down for so short a time that the hub calls nobody unavailable",
        faults="cut-when-active=20%,cut-at-namespace=20%,offline-for=2",
    ),
    Row(
        "offline-long",
        "a link is down for longer than a watch can be resumed",
        faults="cut-when-active=20%,offline=20%,offline-for=30,list-anew=1",
    ),
    Row(
        "given-up",
        "a link stays down longer than the grace, and `enable` is true",
        "UnrecoverableError with the time of the outage; a cluster that returns then does not start",
        faults="offline=10%,cut-at-namespace=10%,cut-when-active=10%",
        enable=True,
    ),
    Row("flap", "links go down and up again and again", faults="flap=30%,flap-every=3"),
    Row("half-dead", "agents' watches die silently", faults="half-dead=30%,flap-every=3"),
    Row("slow", "a round trip takes half a second", faults="slow=30%"),
    Row("agent-restart", "agents restart", faults="agent-restart=30%,flap-every=3"),
    Row(
        "spoke-reboot",
        "the spoke reboots: its API is away, the pod is lost",
        f"{ALL_SUCCEED}, but one whose pod is lost more often than its Job allows",
        faults="spoke-reboot=20%,flap-every=20",
    ),
    Row("leftovers", "a run that crashed has left its namespace", faults="leftovers=30%"),
    Row("old-job", "an earlier run has left a Job that succeeded", faults="old-job=30%"),
    Row(
        "stuck-mended",
        "a left namespace is stuck terminating until somebody helps",
        faults="stuck-leftovers=20%,stuck-for=15",
    ),
    Row(
        "stuck",
        "a left namespace is stuck terminating",
        "UnrecoverableError when the setup's deadline is over",
        faults="stuck-leftovers=20%",
        crew=Crew.HURRIED,
    ),
    Row(
        "duplicate",
        "two CGUs have the same clusters",
        "the younger one waits; every cluster succeeds for each, one after the other",
        play=duplicated,
        jobs=2,
        job_s=(60.0, 120.0),  # the first one is still at work when the second one comes
    ),
    Row(
        "lost-result",
        "an action is carried out, its result is lost",
        faults="lost-put=30%",
        ways=VIEWS,
    ),
    Row(
        "early-collector",
        "an action is collected before anybody has read its result",
        faults="clock-behind=50%",
        ways=VIEWS,
    ),
    Row(
        "lost-race",
        "a view is answered before the action that it asks about",
        faults="slow-actions=30%",
        ways=VIEWS,
    ),
    Row("clock-skew", "clocks are wrong by up to ten minutes", faults="clock-skew=600"),
    Row(
        "old-agent",
        "the work agent knows neither feedback by events nor rules",
        faults="old-agent=100%",
        ways=WORKS,
    ),
    Row("no-field", "one field is missing from the feedback", faults="no-field=100%", ways=WORKS),
    Row("empty-status", "a Job's status stays empty", faults="late-jobs=50%"),
    Row(
        "job-fails",
        "the workload fails, its Job says FailureTarget alone for a while",
        "UnrecoverableError, by the Job's words",
        faults="job-fails=20%,slow-ends=50%",
    ),
    Row(
        "job-hangs",
        "the workload hangs, its Job says FailureTarget alone for a while",
        "PrecacheTimeout, by the Job's deadline",
        faults="job-hangs=20%,slow-ends=50%",
    ),
    Row(
        "pull-back-off",
        "the workload's image cannot be pulled, so its pod never begins",
        "PrecacheTimeout, by the Job's deadline",
        faults="pull-back-off=20%,unschedulable=10%,pods-refused=10%",
    ),
    Row(
        "unschedulable",
        "no node takes the workload's pod",
        "PrecacheTimeout, by the Job's deadline",
        faults="unschedulable=20%",
    ),
    Row(
        "pods-refused",
        "admission refuses the workload's pod",
        "PrecacheTimeout, by the Job's deadline",
        faults="pods-refused=20%",
    ),
    Row("no-child", "the child policy is missing", early=True, childless=True),
    Row(
        "no-verdict",
        "a child policy has no `compliant`",
        faults="no-verdict=30%",
        early=True,
    ),
    Row(
        "template-error",
        "hub templates cannot be resolved for some clusters",
        "nothing begins where it is not known what to cache, and that is said; when they can, "
        f"{ALL_SUCCEED}",
        play=unresolved,
        early=True,
        templated=True,
    ),
    Row(
        "tainted",
        "a cluster is unreachable and its placement, which does not tolerate that, drops it",
        "it is forgotten; when it returns it begins anew and succeeds",
        faults="cut-when-active=20%,offline-for=15",
        tolerant=False,
        jobs=2,
    ),
    Row(
        "detached",
        "a ManagedCluster is deleted in mid-run",
        "the CGU says which; when its user has taken it out, every other cluster succeeds",
        play=detached,
        job_s=(100.0, 200.0),  # none has ended by the time that it is deleted
    ),
    Row(
        "operator-killed",
        "the operator is killed again and again",
        crew=Crew.KILLED,
        job_s=(20.0, 400.0),
    ),
    Row(
        "leader-change", "the operator that leads is killed, another takes over", crew=Crew.RELIEVED
    ),
    Row(
        "hub-errors",
        "the hub answers one request in ten with 409, 429, 500 or not at all",
        crew=Crew.REFUSED,
    ),
    *(
        Row(
            f"mixture-{seed}",
            f"a random mixture, and the operator is killed and refused: `{mixture(seed)}`",
            "every cluster that its own workload does not fail succeeds",
            faults=mixture(seed),
            crew=Crew.ALL,
            job_s=(20.0, 400.0),
        )
        for seed in SEEDS
    ),
)
