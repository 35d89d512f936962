"""One CGU of the manual's kind on a few spokes of the tiny world, from its creation to its end."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Final

from talm.api.cgu import CguSpec, CguStatus, ClusterGroupUpgrade, RemediationStrategy
from talm.api.meta import ObjectMeta
from talm.core.fleet import stored_phases
from tests.scenarios.chronicle import Chronicle
from tests.scenarios.script import RELEASE
from tests.scenarios.spoke import Habits, Spoke
from tests.scenarios.world import PolicyInWorld, World

POLICY: Final = "du-upgrade-platform-upgrade"
MINUTE: Final = 60
HOUR: Final = 3600


class Fleet(World):
    """A world in which everything that must not happen fails the test; `cgu` names its CGUs' one."""

    def __init__(self, habits: Mapping[str, Habits]) -> None:
        spokes = {name: Spoke(name, found) for name, found in habits.items()}
        super().__init__(spokes, {POLICY: PolicyInWorld(POLICY, (RELEASE,))})
        self.chronicle = Chronicle(self)

    def create(self, name: str = "update", *, at: int = 0, **spec: Any) -> None:
        """A CGU that pre-caches all clusters; it is enabled from the start unless told otherwise."""
        wanted: dict[str, Any] = {"clusters": tuple(self.spokes), "enable": True} | spec
        cgu = ClusterGroupUpgrade(
            metadata=ObjectMeta(name=name, namespace="ztp"),
            spec=CguSpec(
                pre_caching=True,
                managed_policies=(POLICY,),
                remediation_strategy=RemediationStrategy(max_concurrency=10, timeout=240),
                **wanted,
            ),
        )
        self.at(at, functools.partial(self.apply, cgu))

    def status(self, name: str = "update") -> CguStatus:
        return self.cgus[name].cgu.status

    def states(self, name: str = "update") -> dict[str, str]:
        """State of each cluster as users read it."""
        return {cluster: phase.value for cluster, phase in stored_phases(self.status(name)).items()}

    def told(self, condition: str, name: str = "update") -> str:
        """`STATUS REASON` of a condition; "" when there is none."""
        found = {c.type: c for c in self.status(name).conditions or ()}.get(condition)
        return f"{found.status} {found.reason}" if found is not None else ""

    def jobs(self, cluster: str) -> int:
        """How many Jobs were ever created there."""
        return sum(self.spokes[cluster].jobs.values())

    def ask_for(self, image: str) -> None:
        """The policy's user wants another release."""
        version = {**RELEASE, "spec": {"desiredUpdate": {"image": image}}}
        self.policies[POLICY].objects = (version,)
