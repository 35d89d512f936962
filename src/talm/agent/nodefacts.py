"""What the node says of itself: its file systems, and the limits in the kubelet's own file.

The file and not the kubelet's API: an account that may ask `nodes/proxy` for it may also run
commands in every pod.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import structlog
import yaml

from talm.agent import space
from talm.agent.failures import failure
from talm.agent.plan import Plan
from talm.agent.settings import Settings
from talm.agent.space import NO_KUBELET, FileSystem, Limit, Role, Rules
from talm.agent.transfer.spool import storage_errors
from talm.api.progress import FailureClass

log = structlog.get_logger()

KUBELET_DIRECTORY: Final = "var/lib/kubelet"
# Below the node's root: OpenShift; kubeadm; EKS; k3s and RKE2.  kubeadm has a kubeconfig under the
# first name, so what counts is the kind inside.  A directory's files are laid over each other.
CONFIG_FILES: Final = (
    "etc/kubernetes/kubelet.conf",
    "var/lib/kubelet/config.yaml",
    "etc/kubernetes/kubelet/config.json",
    "var/lib/rancher/k3s/agent/etc/kubelet.conf.d",
    "var/lib/rancher/rke2/agent/etc/kubelet.conf.d",
)
_IN_A_POD: Final = "KUBERNETES_SERVICE_HOST"
_QUANTITY: Final = re.compile(r"(\d+(?:\.\d*)?)(?:([kMGTPE]i?|Ki)|[eE](\d{1,2}))?")
_POWERS: Final = "kMGTPE"


class Room:
    """The room on this node for one run's images, which go to `images` by way of the spool."""

    def __init__(self, settings: Settings, images: Path) -> None:
        self._kind = settings.store.partition(":")[0]
        self._rules = kubelet_rules(settings.host_root, settings.kubelet_config)
        self._places = {Role.IMAGES: images, Role.SPOOL: settings.spool_directory()}
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


def kubelet_rules(root: Path, config: Path | None = None) -> Rules:
    """Return the limits of the kubelet whose node's root is mounted at `root`.

    `config`: where its file is, if not in one of the usual places.  In a pod, or where the
    kubelet's directory is, the kubelet's defaults count without a file; elsewhere nothing removes
    images and nothing is kept free.
    """
    files = [config] if config else [root / name for name in CONFIG_FILES]
    for file in files:
        if (found := _read(file)) is not None:
            return rules_of(found, str(file))
    if config:
        log.warning("no KubeletConfiguration", file=str(config), instead=Rules().source)
    if config or _IN_A_POD in os.environ or (root / KUBELET_DIRECTORY).exists():
        return Rules()
    return NO_KUBELET


def rules_of(config: Mapping[str, Any], source: str) -> Rules:
    """Read the limits of a KubeletConfiguration.

    As in the kubelet, a list of hard limits replaces the default one whole unless
    `mergeDefaultEvictionSettings` is set.  Soft limits evict too, after their grace, and count.
    """
    default = Rules()
    hard = config.get("evictionHard")
    merge = not hard or config.get("mergeDefaultEvictionSettings") is True
    soft = config.get("evictionSoft") or {}

    def limit(signal: str, usual: Limit) -> Limit:
        text = (hard or {}).get(signal)
        known = parse_limit(text) if text is not None else usual if merge else Limit()
        return known | parse_limit(soft.get(signal, "0"))

    percent = config.get("imageGCHighThresholdPercent")
    return Rules(
        percent if isinstance(percent, int) and 0 <= percent <= 100 else default.gc_high_percent,  # noqa: PLR2004
        limit("nodefs.available", default.nodefs),
        limit("nodefs.inodesFree", default.nodefs_inodes),
        limit("imagefs.available", default.imagefs),
        limit("imagefs.inodesFree", default.imagefs_inodes),
        source,
    )


def parse_limit(text: object) -> Limit:
    """Read `10%` or a quantity such as `1Gi`, `500M`, `1e9`; what is neither limits nothing."""
    said = str(text).strip()
    if said.endswith("%"):
        share = said.removesuffix("%")
        return Limit(share=float(share) / 100) if re.fullmatch(r"\d+(\.\d+)?", share) else Limit()
    match = _QUANTITY.fullmatch(said)
    if match is None:
        log.warning("not a limit", text=said[:50])
        return Limit()
    number, suffix, exponent = match.groups()
    if suffix:
        base = 1024 if suffix.endswith("i") else 1000
        return Limit(amount=int(float(number) * base ** (_POWERS.index(_power(suffix)) + 1)))
    return Limit(amount=int(float(number) * 10 ** int(exponent or 0)))


def _power(suffix: str) -> str:
    return "k" if suffix == "Ki" else suffix[0]


def _read(place: Path) -> dict[str, Any] | None:
    """Return the KubeletConfiguration in a file or directory; None when there is none."""
    try:
        files = sorted(place.glob("*.conf")) if place.is_dir() else [place]
        documents = [yaml.safe_load(file.read_bytes()) for file in files if file.is_file()]
    except (OSError, yaml.YAMLError) as exc:
        log.warning("kubelet's configuration not read", file=str(place), error=str(exc))
        return None
    merged: dict[str, Any] = {}
    for document in documents:
        if isinstance(document, dict) and document.get("kind") == "KubeletConfiguration":
            merged |= document
    return merged or None
