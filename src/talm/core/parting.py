"""What takes away what a CGU has left on clusters that it is done with: at its end, or one by one.

Not here: a cluster that leaves the plan while its CGU goes on (fleet.py).
"""

from __future__ import annotations

from talm.api.words import FINAL_PHASES, Phase

from .fleet import stored_phases, unpinning
from .model import Effect, Move, Snapshot


def farewell(seen: Snapshot) -> tuple[Move, ...]:
    """The end or deletion of the CGU: what is left on each cluster goes, and the pins everywhere.

    Where the Job has succeeded nothing else is left.  A cluster that another CGU owns is the other's
    business but for the pins of one that has ended here; one that is no longer on the hub is nobody's.
    """
    moves = []
    for cluster, phase in stored_phases(seen.cgu.status).items():
        goto = phase if phase in FINAL_PHASES else None
        if cluster not in seen.clusters or (goto is None and cluster in seen.owners):
            continue
        if effects := parting(seen, cluster, phase):
            moves.append(Move(cluster, goto, effects))
    return tuple(moves)


def parting(seen: Snapshot, cluster: str, phase: Phase) -> tuple[Effect, ...]:
    """What takes away all that this CGU has left for one cluster that it is done with."""
    begun = phase is not Phase.NOT_STARTED or cluster in seen.sights
    gone = phase is Phase.SUCCEEDED or cluster in seen.owners or not begun
    removal = () if gone or cluster not in seen.clusters else (Effect.REMOVE,)
    return (*removal, *unpinning(seen, cluster, phase))
