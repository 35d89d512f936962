"""Random mixtures of faults: which may meet in one run, and how often each strikes.

One table serves both: `mixture` draws a line for a fleet from a seed, Hypothesis draws a cluster's faults.
"""

from __future__ import annotations

import random
from typing import Final

# fault -> the largest share of clusters that it strikes in a mixture
SHARES: Final = {
    "offline": 0.1,
    "cut-at-namespace": 0.1,
    "cut-when-active": 0.1,
    "cut-at-success": 0.1,
    "flap": 0.2,
    "half-dead": 0.1,
    "slow": 0.2,
    "slow-actions": 0.2,
    "agent-restart": 0.2,
    "leftovers": 0.2,
    "old-job": 0.2,
    "stuck-leftovers": 0.1,
    "clock-behind": 0.2,
    "old-agent": 0.3,
    "no-field": 0.3,
    "no-verdict": 0.2,
    "late-jobs": 0.2,
    "slow-ends": 0.3,
    "job-fails": 0.1,
    "job-hangs": 0.05,
    "pull-back-off": 0.05,
}
LOST_PUTS: Final = 0.1
AWAY_S: Final = (1.0, 12.0)
STUCK_S: Final = (2.0, 20.0)
# Mixtures that every run plays; a seed that has shown something wrong is added and stays.
SEEDS: Final = (1, 2, 3)


def mixture(seed: int) -> str:
    """Six to twelve faults at once, as `talm sim --faults` takes them; the same for the same seed."""
    dice = random.Random(f"mixture {seed}")
    chosen = dice.sample(sorted(SHARES), dice.randint(6, 12))
    parts = [f"{name}={dice.uniform(0.02, SHARES[name]) * 100:.1f}%" for name in chosen]
    parts.append(f"lost-put={dice.uniform(0, LOST_PUTS) * 100:.1f}%")
    parts.append(f"offline-for={dice.uniform(*AWAY_S):.1f}")
    parts.append(f"stuck-for={dice.uniform(*STUCK_S):.1f}")
    parts.append(f"flap-every={dice.uniform(2, 6):.1f}")
    parts.append(f"list-anew={dice.randint(0, 1)}")
    return ",".join(parts)
