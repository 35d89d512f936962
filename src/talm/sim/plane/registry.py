"""Starts and stops a real image registry (distribution) on the loopback interface.

Storage is a directory; deleting is allowed; plain HTTP, no authentication; it calls nobody.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from talm.sim.plane.binaries import find_program
from talm.sim.plane.listen import LOOPBACK
from talm.sim.plane.processes import Child, Progress, say_nothing, wait_until

# The registry says which port it got.
_LISTENING: Final = re.compile(rf"listening on {re.escape(LOOPBACK)}:(\d+)")
# Without it the registry sends traces to whatever listens on OpenTelemetry's port.
_ENVIRONMENT: Final = {"OTEL_TRACES_EXPORTER": "none"}


@dataclass(slots=True)
class Registry:
    """A registry that keeps its content in `directory`; `port` 0 means any free one.

    The port is kept over `stop` and `start`, so that references stay valid.
    """

    directory: Path
    port: int = 0
    progress: Progress = say_nothing
    _child: Child | None = field(default=None, init=False)

    @property
    def address(self) -> str:
        """`host:port`, the first part of an image reference."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://{self.address}"

    @property
    def log(self) -> Path:
        """Its log, access log included."""
        return self.directory / "registry.log"

    async def start(self) -> Self:
        """Start it and wait until it listens; raises SetupError with the end of its log."""
        program = find_program("registry")
        self.directory.mkdir(parents=True, exist_ok=True)
        configuration = self.directory / "config.yml"
        configuration.write_text(json.dumps(self._configuration(), indent=2))  # JSON is YAML
        old = self.log.stat().st_size if self.log.exists() else 0
        self._child = Child(
            "registry",
            [str(program), "serve", str(configuration)],
            log=self.log,
            cwd=self.directory,
            environment=_ENVIRONMENT,
        )
        self._child.start()

        async def listens() -> bool:
            with self.log.open("rb") as log:
                log.seek(old)
                found = _LISTENING.search(log.read().decode(errors="replace"))
            if found:
                self.port = int(found.group(1))
            return found is not None

        try:
            await wait_until(
                listens, [self._child], what="waiting for the registry", progress=self.progress
            )
        except BaseException:
            self._child.kill()
            raise
        return self

    async def stop(self) -> None:
        """End it; the content stays."""
        if self._child is not None:
            await self._child.stop()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    def _configuration(self) -> dict[str, Any]:
        storage = {
            "filesystem": {"rootdirectory": str((self.directory / "storage").absolute())},
            "delete": {"enabled": True},
            "maintenance": {"uploadpurging": {"enabled": False}},
        }
        return {
            "version": 0.1,
            "log": {"level": "info", "formatter": "text"},
            "storage": storage,
            "http": {"addr": self.address},
        }
