"""One cluster of a fleet: its spoke, its clock, its link and its agents."""

from __future__ import annotations

import dataclasses
from typing import Any

from talm.errors import Bug
from talm.sim.agents.actionagent import ActionAgent
from talm.sim.agents.base import Agent, Hub, Post
from talm.sim.agents.policyagent import PolicyAgent, PolicyScenario
from talm.sim.agents.restmapper import RestMapper
from talm.sim.agents.viewagent import ViewAgent
from talm.sim.agents.workagent import WorkAgent, WorkHabits
from talm.sim.clock import Clock
from talm.sim.links import Link, Listing
from talm.sim.spoke.memoryspoke import MemorySpoke
from talm.sim.spoke.spokes import SpokeApi

VIEWS, ACTIONS, POLICIES, WORKS = range(4)
"""The agents' numbers at their link."""


@dataclasses.dataclass(frozen=True, slots=True)
class Site:
    """Made by `build_site`."""

    name: str
    spoke: SpokeApi
    clock: Clock
    link: Link
    views: ViewAgent
    actions: ActionAgent
    policies: PolicyAgent
    works: WorkAgent

    @property
    def memory(self) -> MemorySpoke:
        """The spoke, when it is an in-memory one; raises Bug."""
        if not isinstance(self.spoke, MemorySpoke):
            raise Bug(f"the spoke of {self.name} is not an in-memory one")
        return self.spoke

    @property
    def agents(self) -> tuple[Agent[Any], ...]:
        """Those with one worker: all but the work agent."""
        return (self.views, self.actions, self.policies)

    def restart_agents(self) -> None:
        """Their pod restarts: everything known is forgotten and listed again."""
        self.views.post.mapper.forget()
        for agent in self.agents:
            agent.crash()
        self.works.crash()
        self.link.list_again(restarted=True)

    def stop(self) -> None:
        """End the agents, and the spoke if it lives here."""
        for agent in self.agents:
            agent.stop()
        self.works.stop()
        if isinstance(self.spoke, MemorySpoke):
            self.spoke.close()


def build_site(  # noqa: PLR0913 - the parts of a site
    name: str,
    spoke: SpokeApi,
    clock: Clock,
    hub: Hub,
    *,
    listing: Listing,
    policies: PolicyScenario,
    habits: WorkHabits | None = None,
    rtt_s: float = 0.0,
    quiet: bool = False,
) -> Site:
    """Put agents between a spoke and the hub; the order of creation is their number."""
    link = Link(rtt_s=rtt_s, listing=listing, seed=name)
    post = Post(name, spoke, RestMapper(spoke), clock, link, hub, quiet)
    views = ViewAgent(post, name="views")
    actions = ActionAgent(post)
    policy = PolicyAgent(post, scenario=policies)
    works = WorkAgent(post, habits)
    return Site(name, spoke, clock, link, views, actions, policy, works)
