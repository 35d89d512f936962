"""What goes wrong in a fleet, said in one line and the same each time for the same seed.

    offline=10%,flap=5%,lost-put=5%,stuck-namespace=1,clock-skew=600

A value is a share of the clusters (`10%`), a number of them (`3`), or what FAULTS says.  Which
clusters are hit is drawn per fault, so that faults meet on some of them.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import yaml

from talm.errors import SetupError

FAULTS: Final[Mapping[str, str]] = {
    "offline": "clusters whose link is down from the start (see offline-for)",
    "cut-at-namespace": "clusters whose link goes down when the pre-caching namespace was made",
    "cut-when-active": "clusters whose link goes down when the Job's pod is ready",
    "cut-at-success": "clusters whose link goes down at the moment of success",
    "offline-for": "seconds after which clusters whose link went down return (default: never)",
    "list-anew": "1: they were away too long to resume; their agents list everything (0)",
    "flap": "clusters whose link goes down and up again and again",
    "flap-every": "seconds from one change of a flapping link to the next, on average (20)",
    "half-dead": "clusters whose hub watch dies silently, again and again",
    "slow": "clusters with a round trip of half a second",
    "lost-put": "part of the action results that never reach the hub (all clusters)",
    "slow-actions": "clusters whose one worker for actions is busy for 2 s before each",
    "agent-restart": "clusters whose agents restart again and again",
    "spoke-reboot": "clusters that reboot again and again, killing what runs",
    "stuck-namespace": "clusters where a finalizer keeps namespaces from going",
    "leftovers": "clusters where a run that crashed has left its namespace",
    "old-job": "clusters where an earlier run has left a Job that succeeded",
    "stuck-leftovers": "clusters where a crashed run's namespace is stuck terminating",
    "stuck-for": "seconds after which somebody removes such finalizers (default: never)",
    "clock-skew": "seconds that the spokes' clocks may be wrong, either way (all clusters)",
    "clock-behind": "clusters whose clock is ten minutes behind: the hub collects actions at once",
    "old-agent": "clusters whose work agent knows neither feedback by events nor rules",
    "no-field": "clusters whose work agent leaves out one field of its feedback",
    "no-verdict": "clusters that never say whether they comply with a policy",
    "late-jobs": "clusters whose Job controller is 3 s behind: a new Job's status stays empty",
    "slow-ends": "clusters where a failing Job says FailureTarget alone for 3 s",
    "job-fails": "clusters whose Jobs end with a non-zero exit code",
    "job-hangs": "clusters whose Jobs run until their deadline",
    "pull-back-off": "clusters whose Jobs never become ready",
    "unschedulable": "clusters where no node takes a pod",
    "pods-refused": "clusters where admission refuses every pod",
}
# Numbers, not clusters.
_PLAIN: Final = frozenset({"offline-for", "list-anew", "flap-every", "stuck-for", "clock-skew"})
BEHIND_S: Final = -600.0


@dataclasses.dataclass(frozen=True, slots=True)
class ClusterFaults:
    """What one cluster suffers; `struck` are the names of FAULTS that hit it."""

    struck: frozenset[str] = frozenset()
    lost_put: float = 0.0
    skew_s: float = 0.0
    offline_for_s: float | None = None
    lists_anew: bool = False
    stuck_for_s: float | None = None
    flap_every_s: float = 20.0


@dataclasses.dataclass(frozen=True, slots=True)
class Faults:
    """Values by name of FAULTS: a fraction if `%` was given, else a number."""

    shares: Mapping[str, float] = dataclasses.field(default_factory=dict)
    counts: Mapping[str, float] = dataclasses.field(default_factory=dict)
    seed: int = 0

    def plan(self, clusters: Sequence[str]) -> dict[str, ClusterFaults]:
        """Who is hit by what."""
        struck: dict[str, set[str]] = {name: set() for name in clusters}
        for fault in FAULTS:
            if fault in _PLAIN or fault == "lost-put":
                continue
            for name in self._draw(fault, clusters):
                struck[name].add(fault)
        return {name: self._of(name, struck[name]) for name in clusters}

    def _draw(self, fault: str, clusters: Sequence[str]) -> list[str]:
        count = math.ceil(self.shares.get(fault, 0.0) * len(clusters))
        count = max(count, int(self.counts.get(fault, 0)))
        dice = random.Random(f"{self.seed} {fault}")
        return dice.sample(list(clusters), min(count, len(clusters)))

    def _of(self, cluster: str, struck: set[str]) -> ClusterFaults:
        skew_s = self.counts.get("clock-skew", 0.0)
        dice = random.Random(f"{self.seed} clock {cluster}")
        drawn_s = dice.uniform(-skew_s, skew_s) if skew_s else 0.0
        return ClusterFaults(
            struck=frozenset(struck),
            lost_put=self.shares.get("lost-put", self.counts.get("lost-put", 0.0)),
            skew_s=BEHIND_S if "clock-behind" in struck else drawn_s,
            offline_for_s=self.counts.get("offline-for"),
            lists_anew=bool(self.counts.get("list-anew")),
            stuck_for_s=self.counts.get("stuck-for"),
            flap_every_s=self.counts.get("flap-every", 20.0),
        )


def parse_faults(text: str, *, seed: int = 0) -> Faults:
    """Read `name=value,...` or `@file.yaml` (a mapping); raises SetupError with what is known."""
    shares: dict[str, float] = {}
    counts: dict[str, float] = {}
    for name, value in _pairs(text):
        if name not in FAULTS:
            raise SetupError(f"no fault is called {name!r}; known are: {', '.join(FAULTS)}")
        number, percent = value.removesuffix("%"), value.endswith("%")
        try:
            amount = float(number)
        except ValueError:
            raise SetupError(f"fault {name}={value}: not a number or a percentage") from None
        if amount < 0 or (percent and name in _PLAIN):
            raise SetupError(f"fault {name}={value}: {FAULTS[name]}")
        if percent:
            shares[name] = min(amount / 100, 1.0)
        else:
            counts[name] = amount
    if not 0 <= counts.get("lost-put", 0.0) <= 1:
        raise SetupError("fault lost-put is a part of all results: 0 to 1, or a percentage")
    return Faults(shares, counts, seed)


def _pairs(text: str) -> list[tuple[str, str]]:
    if text.startswith("@"):
        path = Path(text[1:])
        try:
            known = yaml.safe_load(path.read_text())
        except (OSError, yaml.YAMLError) as exc:
            raise SetupError(f"faults cannot be read from {path}: {exc}") from exc
        if not isinstance(known, dict):
            raise SetupError(f"{path}: a mapping of fault names to values is expected")
        return [(str(name), str(value)) for name, value in known.items()]
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    return [(name.strip(), value.strip()) for name, _, value in pairs]
