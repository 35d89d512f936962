"""In which batches the clusters are updated, and how long each batch may take.

Not decided here: which clusters take part (selection.py, policies.py), how one is updated (rollout.py).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence


def computed_max_concurrency(max_concurrency: int, selected_count: int) -> int:
    """Bound the batch size by the number of selected clusters; 0 or less means all of them.

    Counts the *selected* clusters: it does not shrink when some of them fail later.
    """
    return min(max_concurrency, selected_count) if max_concurrency > 0 else selected_count


def plan_batches(
    clusters: Sequence[str], canaries: Sequence[str], max_concurrency: int
) -> tuple[tuple[str, ...], ...]:
    """Canaries go first, one batch each; the rest in batches of `max_concurrency` (<= 0: all).

    Order is kept: the canaries' own, then that of `clusters`.  A canary that is not among
    `clusters` is already compliant and has no batch.  Each cluster is in one batch, once.
    Same plan as the existing operator's `buildRemediationPlan`.
    """
    known = dict.fromkeys(clusters)
    first = {name: None for name in canaries if name in known}
    rest = [name for name in known if name not in first]
    size = max_concurrency if max_concurrency > 0 else max(len(rest), 1)
    chunks = [tuple(rest[at : at + size]) for at in range(0, len(rest), size)]
    return (*((name,) for name in first), *chunks)


def batch_deadline(
    cgu_started: dt.datetime, batch_started: dt.datetime, batches_left: int, total: dt.timedelta
) -> dt.datetime:
    """Share what is left of the CGU's time evenly over the batches not yet finished.

    `batches_left` counts the current one, so it is >= 1.  The share is taken at the
    batch's start, not "now": a stuck batch must not eat the time of the others.
    Same arithmetic as the existing operator's `CalculateBatchTimeout` (utils/batches.go).
    """
    return batch_started + (total - (batch_started - cgu_started)) / batches_left
