"""What the script needs of a world: one cluster, its agents, hands on both API servers, faults.

Three worlds stand behind this: the real agents and the simulated ones on real API servers
(`real.py`), and the simulated ones in memory and virtual time (`memory.py`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Protocol

from talm.api.kinds import Kind

from .journal import Faults, Journal


class Place(Protocol):
    """An API server as the script's own hand uses it; `talm.kube.client.Client` is one."""

    async def get(self, kind: Kind, name: str, namespace: str = "") -> dict[str, Any]: ...

    async def list(self, kind: Kind, namespace: str = "") -> list[dict[str, Any]]: ...

    async def create(self, kind: Kind, body: Mapping[str, Any]) -> dict[str, Any]: ...

    async def merge_patch(
        self,
        kind: Kind,
        name: str,
        patch: Mapping[str, Any],
        namespace: str = "",
        *,
        subresource: str = "",
    ) -> dict[str, Any]: ...

    async def delete(self, kind: Kind, name: str, namespace: str = "") -> None: ...


class Lane(Protocol):
    """One cluster; rows that disturb their agents have one of their own."""

    cluster: str
    journal: Journal
    faults: Faults
    patience_s: float

    @property
    def hub(self) -> Place: ...

    @property
    def spoke(self) -> Place: ...

    def now(self) -> dt.datetime:
        """The time on the hub."""
        ...

    async def hold_namespace(self, name: str) -> None:
        """Keep a namespace of the spoke from going once it is deleted."""
        ...

    async def cut_hub(self) -> None:
        """The agents lose their hub: connections end, new ones are refused."""
        ...

    async def mend_hub(self, *, expired: bool = False) -> None:
        """They have it again; `expired`: too late to go on where their watches ended."""
        ...

    async def freeze_watches(self) -> None:
        """The agents' watches bring nothing any more; everything else passes."""
        ...

    async def thaw_watches(self) -> None:
        """The dead watches are noticed at last."""
        ...

    async def stop_spoke(self) -> None:
        """The spoke's API server refuses connections."""
        ...

    async def start_spoke(self) -> None: ...

    async def stop_agents(self) -> None:
        """Their process is killed."""
        ...

    async def start_agents(self) -> None: ...
