"""What an API server's audit log says of its callers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


@dataclass(frozen=True)
class Call:
    """One request; `at` is when it was received (RFC 3339 with microseconds: sorts as text)."""

    at: str
    user: str
    verb: str
    resource: str
    subresource: str
    status: int
    namespace: str = ""
    name: str = ""

    @property
    def writes(self) -> bool:
        return self.verb in WRITES


def calls(log: Path) -> Iterator[Call]:
    """Every request that was answered, in the order of the answers."""
    for line in log.read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        if event["stage"] == "ResponseComplete" and event.get("objectRef"):
            about = event["objectRef"]
            yield Call(
                event["requestReceivedTimestamp"],
                event["user"]["username"],
                event["verb"],
                about.get("resource", ""),
                about.get("subresource", ""),
                (event.get("responseStatus") or {}).get("code", 0),
                about.get("namespace", ""),
                about.get("name", ""),
            )
