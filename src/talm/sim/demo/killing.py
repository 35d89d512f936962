"""An agent that is killed in the middle of its download, and what is fetched after that.

What a cluster has is measured on its disk.  The line to the registry counts what it delivers to all
clusters together; what the others still lacked when the agent was killed is taken off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from talm.sim.demo.demoworld import DemoWorld

# Much more than what is fetched again in any case: manifests, heads of answers.
_ENOUGH_BYTES: Final = 2 << 20


@dataclass(frozen=True, slots=True)
class Killed:
    """The agent of `cluster` was killed when each cluster held so many bytes of images."""

    cluster: str
    held: Mapping[str, int]
    carried: int

    def resumed(self, total: Mapping[str, int], carried: int) -> dict[str, int]:
        """Tell how many bytes were `held` then, were `fetched` since, and are there in `total`.

        `total`: what each cluster holds now that every one is done; `carried`: by the line, by now.
        """
        others = sum(total[name] - self.held[name] for name in total if name != self.cluster)
        return {
            "held": self.held[self.cluster],
            "fetched": carried - self.carried - others,
            "total": total[self.cluster],
        }


def in_the_middle(world: DemoWorld, cluster: str) -> bool:
    """Tell whether so much has arrived that fetching it again would show."""
    return world.spokes[cluster].held_bytes() >= _ENOUGH_BYTES


async def kill(world: DemoWorld, cluster: str) -> Killed:
    """Kill the workload's process on a cluster; a dying one still takes what arrives."""
    await world.spokes[cluster].kill_workload()
    return Killed(cluster, world.held_bytes(), world.line.carried)
