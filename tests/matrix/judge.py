"""What may come of a cluster that was struck, and whether it did.

    faults of a cluster -> Expected      what was seen -> Seen      both -> violations, in words

The rules: no cluster is still open after the stated deadlines; none ended badly but by its workload or by
a stated deadline, and then in those words; none saw more Jobs than it may; nothing is left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from talm.api.words import FINAL_PHASES, Phase
from talm.sim.faults import ClusterFaults

GONE: Final = "forgotten"
LINK_FAULTS: Final = frozenset({"offline", "cut-at-namespace", "cut-when-active", "cut-at-success"})

# fault -> how the workload's own failure ends, and words that must be in its message
BY_WORKLOAD: Final[Mapping[str, tuple[Phase, str]]] = {
    "job-fails": (Phase.FAILED, "BackoffLimitExceeded"),
    "job-hangs": (Phase.TIMED_OUT, "DeadlineExceeded"),
    "pull-back-off": (Phase.TIMED_OUT, "DeadlineExceeded"),
    "unschedulable": (Phase.TIMED_OUT, "DeadlineExceeded"),
    "pods-refused": (Phase.TIMED_OUT, "DeadlineExceeded"),
}
SETUP_DEADLINE: Final = (Phase.FAILED, "the setup took longer than")
OUTAGE: Final = (Phase.FAILED, "has been unavailable since")
# A pod that is killed as often as its Job allows is a failure of the Job.
REBOOTS: Final = (Phase.FAILED, "BackoffLimitExceeded")


@dataclass(frozen=True)
class Expected:
    """The ends that a cluster may come to: state -> words of the message ("" for any), and its Jobs."""

    ends: tuple[tuple[str, str], ...] = ((Phase.SUCCEEDED, ""),)
    fewest_jobs: int = 1
    most_jobs: int = 1
    may_leave: bool = False


def expected_of(faults: ClusterFaults, *, enabled: bool, most_jobs: int = 1) -> Expected:
    """What may come of a cluster with these faults; what the workload fails of, it must fail of."""
    ends = [end for fault, end in BY_WORKLOAD.items() if fault in faults.struck]
    before: list[tuple[Phase, str]] = []
    if "stuck-leftovers" in faults.struck and faults.stuck_for_s is None:
        before.append(SETUP_DEADLINE)
    if enabled and faults.offline_for_s is None and LINK_FAULTS & faults.struck:
        before.append(OUTAGE)
    if not ends and not before:
        ends.append((Phase.SUCCEEDED, ""))
    if "spoke-reboot" in faults.struck:
        ends.append(REBOOTS)
    fewest = 0 if before else 1
    return Expected(tuple((*ends, *before)), fewest_jobs=fewest, most_jobs=max(most_jobs, fewest))


@dataclass(frozen=True)
class Seen:
    """What became of the clusters of one row.

    `failures`: cluster -> (reason, message) as the CGU tells; `late_jobs`: clusters that saw a Job after
    the CGU had given them up; `on_hub`, `on_spokes`: what is left after the CGU has gone.
    """

    phases: Mapping[str, str]
    failures: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    jobs: Mapping[str, int] = field(default_factory=dict)
    late_jobs: Sequence[str] = ()
    on_hub: Sequence[str] = ()
    on_spokes: Mapping[str, Sequence[str]] = field(default_factory=dict)


def violations(expected: Mapping[str, Expected], seen: Seen) -> list[str]:
    """Every breach of a rule, in words; empty when all is as it must be."""
    found = [breach for name, rule in expected.items() for breach in _of(name, rule, seen)]
    found += [f"{name}: a Job after it was given up" for name in seen.late_jobs]
    for entry in seen.on_hub:
        cluster = entry.partition("/")[0]
        if cluster not in expected or not expected[cluster].may_leave:
            found.append(f"left on the hub: {entry}")
    for cluster, left in seen.on_spokes.items():
        if not expected[cluster].may_leave:
            found.append(f"left on {cluster}: {', '.join(left)}")
    return found


def _of(name: str, rule: Expected, seen: Seen) -> list[str]:
    phase = seen.phases.get(name, GONE)
    if phase != GONE and phase not in FINAL_PHASES:
        return [f"{name}: stuck in {phase}: {seen.failures.get(name, ('', ''))[1]}".rstrip(": ")]
    breaches = []
    message = seen.failures.get(name, ("", ""))[1]
    if not any(phase == end and words in message for end, words in rule.ends):
        breaches.append(f"{name}: {phase}, which nothing explains: {message}".rstrip(": "))
    jobs = seen.jobs.get(name, 0)
    if not rule.fewest_jobs <= jobs <= rule.most_jobs:
        breaches.append(f"{name}: {jobs} Jobs")
    return breaches


def outcome(seen: Seen) -> str:
    """Where the clusters came to, counted: `180 Succeeded, 20 PrecacheTimeout`."""
    counts = Counter(seen.phases.values())
    order = [str(phase) for phase in Phase] + [GONE]
    known = [word for word in order if word in counts]
    return ", ".join(f"{counts[word]} {word}" for word in known)
