"""The limits in the kubelet's own configuration: its file, and the drop-ins that are laid over it.

The file and not the kubelet's API: an account that may ask `nodes/proxy` for it may also run
commands in every pod.  What the limits mean for a run is in space.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import structlog
import yaml

from talm.agent.space import NO_KUBELET, Limit, Rules

log = structlog.get_logger()

KUBELET_DIRECTORY: Final = "var/lib/kubelet"
# Below the node's root, each with its directories of drop-ins: OpenShift; kubeadm; EKS; k3s and RKE2,
# which have nothing but drop-ins.  kubeadm has a kubeconfig under the first name, so what counts is the
# kind inside.
CONFIG_FILES: Final = (
    ("etc/kubernetes/kubelet.conf", "etc/openshift/kubelet.conf.d"),
    ("var/lib/kubelet/config.yaml", "etc/kubernetes/kubelet.conf.d"),
    ("etc/kubernetes/kubelet/config.json", "etc/kubernetes/kubelet/config.json.d"),
    ("", "var/lib/rancher/k3s/agent/etc/kubelet.conf.d"),
    ("", "var/lib/rancher/rke2/agent/etc/kubelet.conf.d"),
)
_DROP_IN: Final = ".conf"
_IN_A_POD: Final = "KUBERNETES_SERVICE_HOST"
_QUANTITY: Final = re.compile(r"(\d+(?:\.\d*)?)(?:([kMGTPE]i?|Ki)|[eE](\d{1,2}))?")
_POWERS: Final = "kMGTPE"


def kubelet_rules(root: Path, config: Path | None = None) -> Rules:
    """Return the limits of the kubelet whose node's root is mounted at `root`.

    `config`: where its file (or directory of drop-ins) is, if not in one of the usual places.  In a
    pod, or where the kubelet's directory is, the kubelet's defaults count without a file; elsewhere
    nothing removes images and nothing is kept free.
    """
    places = [[config]] if config else [[root / p for p in pair if p] for pair in CONFIG_FILES]
    for place in places:
        if found := _merged(place):
            return rules_of(found, str(next(path for path in place if path.exists())))
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
    hard = _mapping(config, "evictionHard")
    merge = not hard or config.get("mergeDefaultEvictionSettings") is True
    soft = _mapping(config, "evictionSoft")

    def limit(signal: str, usual: Limit) -> Limit:
        text = hard.get(signal)
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


def _mapping(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = config.get(key)
    return found if isinstance(found, Mapping) else {}


def _merged(places: Iterable[Path]) -> dict[str, Any]:
    """Lay the KubeletConfigurations in files and directories over each other; {} without any.

    A later one's keys win, maps are merged key by key, and null removes: kubelet's `--config-dir` is
    a JSON merge patch for each `.conf` below it, sorted by path (cmd/kubelet/app/server.go).
    """
    merged: dict[str, Any] = {}
    for file in (file for place in places for file in _files(place)):
        document = _read(file)
        if isinstance(document, dict) and document.get("kind") == "KubeletConfiguration":
            merged = _patched(merged, document)
    return merged


def _files(place: Path) -> Iterator[Path]:
    if place.is_dir():
        yield from sorted(file for file in place.rglob(f"*{_DROP_IN}") if file.is_file())
    elif place.is_file():
        yield place


def _patched(base: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            under = result.get(key)
            result[key] = _patched(under if isinstance(under, dict) else {}, value)
        else:
            result[key] = value
    return result


def _read(file: Path) -> object:
    """Return what a JSON or YAML file holds; None when it cannot be read (logged)."""
    try:
        text = file.read_text(encoding="utf-8")
        with contextlib.suppress(ValueError):  # as JSON first: indented by tabs it is no YAML here
            return json.loads(text)
        return yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as exc:
        log.warning("kubelet's configuration not read", file=str(file), error=str(exc))
        return None
