"""Which hub a command looks at, and the connection to it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from talm.cli.reading import Reader


@dataclass(frozen=True, slots=True)
class Where:
    """Which hub, and which namespace ("": not said)."""

    kubeconfig: Path | None = None
    context: str | None = None
    namespace: str = ""

    @contextlib.asynccontextmanager
    async def reader(self) -> AsyncIterator[Reader]:
        """Connect; raises CredentialError."""
        from talm.kube.client import Client
        from talm.kube.kubeconfig import find_source

        namespace = find_source(self.kubeconfig, self.context).namespace()
        connecting = Client.connect(self.kubeconfig, user_agent="talm-cli", context=self.context)
        async with await connecting as client:
            yield Reader(client, namespace)
