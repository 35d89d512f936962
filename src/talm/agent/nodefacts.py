"""The room on the node: its file systems, looked at for what a run needs (space.py does the sums).

Not here: the limits of the kubelet (kubelet.py).
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from talm.agent import space
from talm.agent.failures import failure
from talm.agent.kubelet import KUBELET_DIRECTORY, kubelet_rules
from talm.agent.plan import Plan
from talm.agent.settings import Settings
from talm.agent.space import FileSystem, Role
from talm.agent.stores.base import ImageStore
from talm.agent.transfer.spool import storage_errors
from talm.api.progress import FailureClass


class Room:
    """The room on this node for one run's images, which go to `store` by way of the spool."""

    def __init__(self, settings: Settings, store: ImageStore) -> None:
        self._kind = settings.store.partition(":")[0]
        self._rules = kubelet_rules(settings.host_root, settings.kubelet_config)
        spool = settings.spool_directory().absolute()
        self._places = {Role.IMAGES: store.directory, Role.SPOOL: spool}
        if copies := store.import_directory(spool):
            self._places[Role.IMPORTS] = copies
        kubelet = settings.host_root / KUBELET_DIRECTORY
        if kubelet.exists():
            self._places[Role.KUBELET] = kubelet

    def shortages(self, plan: Plan, required_gib: int) -> tuple[str, ...]:
        """Say what does not fit; empty when nothing is missing."""
        needs = space.needs_of(plan, self._kind, required_gib)
        return space.shortages(needs, measure(self._places), self._rules) if plan.missing else ()

    def check(self, plan: Plan, required_gib: int) -> None:
        """Raise AgentError (InsufficientSpace) when what is missing does not fit."""
        if short := self.shortages(plan, required_gib):
            raise failure(FailureClass.INSUFFICIENT_SPACE, "; ".join(short))

    def warnings(self) -> tuple[str, ...]:
        """Say which limits of the kubelet are passed now."""
        return space.warnings(measure(self._places), self._rules)


def measure(places: Mapping[Role, Path]) -> tuple[FileSystem, ...]:
    """Look at the file systems of `places`, each once; a path that is not there yet will be on
    that of its nearest directory.  Raises AgentError (StoreFailed).
    """
    roles: dict[int, set[Role]] = defaultdict(set)
    where: dict[int, Path] = {}
    for role, place in places.items():
        with storage_errors(place):
            there = next(path for path in (place, *place.absolute().parents) if path.exists())
            device = there.stat().st_dev
        roles[device].add(role)
        where.setdefault(device, there)
    return tuple(_file_system(where[device], frozenset(roles[device])) for device in where)


def _file_system(place: Path, roles: frozenset[Role]) -> FileSystem:
    with storage_errors(place):
        found = os.statvfs(place)
    return FileSystem(
        str(place),
        roles,
        size=found.f_blocks * found.f_frsize,
        free=found.f_bavail * found.f_frsize,
        inodes=found.f_files,
        inodes_free=found.f_ffree,
    )
