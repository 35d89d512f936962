"""What `talm demo --break NAME` breaks, so that one can see the checks fail.

Each break is real: the part behaves as it does when that goes wrong at a site.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

import aiohttp

from talm.api import kinds
from talm.errors import SetupError
from talm.sim.demo import demohub
from talm.sim.demo.demoworld import DemoWorld

_BRIEFLY_S: Final = 10.0


class Moment(enum.Enum):
    """When it is broken."""

    BEFORE = "before the CGU is applied"
    CACHED = "after pre-caching"


@dataclass(frozen=True, slots=True)
class Break:
    """`patience_s`: how long the demo waits for what will not come; None: as long as ever."""

    says: str
    moment: Moment
    do: Callable[[DemoWorld], Awaitable[None]]
    patience_s: float | None = None


async def _lose_release(world: DemoWorld) -> None:
    """Delete the release's manifest: the registry itself says 404 from now on."""
    repository, _, digest = world.image.partition("@")
    url = f"{world.registry.url}/v2/{repository.partition('/')[2]}/manifests/{digest}"
    async with aiohttp.ClientSession() as session, session.delete(url) as answer:
        if not answer.ok:
            raise SetupError(f"DELETE {url}: the registry answers {answer.status}")


async def _lose_policy(world: DemoWorld) -> None:
    await world.client.delete(kinds.POLICY, demohub.POLICY, demohub.NAMESPACE)


async def _silence_agents(world: DemoWorld) -> None:
    """Let the watches of the first cluster's agents die without anybody noticing."""
    world.fleet[world.clusters[0]].link.half_dead()


async def _damage_layout(world: DemoWorld) -> None:
    """Change the stored manifest on the first cluster."""
    manifest = world.spokes[world.clusters[0]].blob(world.image.partition("@")[2])
    manifest.write_bytes(manifest.read_bytes() + b"\n")


BREAKS: Final[Mapping[str, Break]] = {
    "registry": Break("the registry answers 404 for the release", Moment.BEFORE, _lose_release),
    "policy": Break(
        "the policy that the CGU names is deleted", Moment.BEFORE, _lose_policy, _BRIEFLY_S
    ),
    "agent": Break(
        "the agents of cnfdb1 do not hear from the hub any more",
        Moment.BEFORE,
        _silence_agents,
        _BRIEFLY_S,
    ),
    "layout": Break(
        "the manifest that cnfdb1 has stored is damaged", Moment.CACHED, _damage_layout
    ),
}
