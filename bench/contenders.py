"""Who brings a release into which store: how it is started, and how the store is asked.

A run has a directory of its own; commands are plain programs with an environment.  The loops are
shell, as in the existing workload: an image is tried ten times, batches wait for their last one.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from talm.agent.stores.tools import run

LAYOUT: Final = "oci-layout"
STORAGE: Final = "containers-storage"
CONTAINERD: Final = "containerd"
STORES: Final = (LAYOUT, STORAGE, CONTAINERD)

_NEEDS: Final[Mapping[str, Sequence[str]]] = {
    LAYOUT: (),
    STORAGE: ("podman", "skopeo", "runc"),
    CONTAINERD: ("containerd", "ctr", "runc"),
}

# Batches of $1 images of which $2 are pulled at once; $3 is the command, the rest the images.
_LOOP: Final = """
batch=$1 width=$2; export ONE="$3"; shift 3
while (( $# )); do
  printf '%s\\n' "${@:1:batch}" | xargs -P "$width" -n 1 bash -c '
    for try in {1..10}; do $ONE "$1" && exit 0; sleep 1; done; exit 1' one || exit 1
  shift $(( $# < batch ? $# : batch ))
done
"""


@dataclass(frozen=True)
class Place:
    """Where one run takes place; the socket's name has to be short."""

    directory: Path
    socket: Path

    @property
    def layout(self) -> Path:
        """The OCI layout."""
        return self.directory / "layout"

    @property
    def environment(self) -> dict[str, str]:
        """What every program of the run is told."""
        return {
            "CONTAINERS_STORAGE_CONF": str(self.directory / "storage.conf"),
            "CONTAINERD_ADDRESS": str(self.socket),
            "CONTAINERD_NAMESPACE": "k8s.io",
            "CONTAINERD_SNAPSHOTTER": "overlayfs",
            "HOME": str(self.directory / "home"),
            "TMPDIR": str(self.directory / "tmp"),
        }

    def prepare(self, registry: str) -> None:
        """Write the files that the programs read: stores here, `registry` without TLS."""
        for name in ("home", "tmp", "node/etc/containers"):
            (self.directory / name).mkdir(parents=True)
        (self.directory / "storage.conf").write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{self.directory}/graph"\n'
            f'runroot = "{self.directory}/run"\n'
        )
        (self.directory / "node/etc/containers/registries.conf").write_text(
            f'[[registry]]\nlocation = "{registry}"\ninsecure = true\n'
        )
        (self.directory / "containerd.toml").write_text(
            f'version = 2\nroot = "{self.directory}/root"\nstate = "{self.directory}/state"\n'
            'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
            f'[grpc]\naddress = "{self.socket}"\n'
        )


@dataclass(frozen=True)
class Contender:
    """`command` is given the place and the pull specs, the release image's last.

    `in_short`: whether it is one of those that a short run compares.
    """

    name: str
    store: str
    command: Callable[[Place, Sequence[str]], list[str]]
    in_short: bool = True

    def lacks(self) -> str:
        """Say why it cannot run here; "" when it can."""
        absent = [program for program in _NEEDS[self.store] if shutil.which(program) is None]
        return f"no {', '.join(absent)} (make test-tools installs it)" if absent else ""


def _talm(store: str) -> Contender:
    def command(place: Place, references: Sequence[str]) -> list[str]:
        places = {LAYOUT: f"{LAYOUT}:{place.layout}", CONTAINERD: f"{CONTAINERD}:{place.socket}"}
        return [
            sys.executable, "-m", "talm", "agent", "pull",
            "--platform-image", references[-1],
            "--host-root", str(place.directory / "node"),
            "--spool", str(place.directory / "spool"),
            "--store", places.get(store, store),
        ]  # fmt: skip

    return Contender("talm", store, command)


def loop(
    name: str, store: str, one: str, *, batch: int, width: int, in_short: bool = True
) -> Contender:
    """Pull with `one` and the image as its argument, `width` at once, batch by batch."""

    def command(_: Place, references: Sequence[str]) -> list[str]:
        return ["bash", "-c", _LOOP, name, str(batch), str(width), one, *references]

    return Contender(name, store, command, in_short)


_PODMAN: Final = "podman pull --quiet --tls-verify=false"
_CTR: Final = "ctr images pull --plain-http"
_ALL: Final = 1000  # more images than there are: one batch

CONTENDERS: Final = (
    _talm(LAYOUT),
    _talm(STORAGE),
    loop("podman, batches of 10", STORAGE, _PODMAN, batch=10, width=10),
    loop("podman, one by one", STORAGE, _PODMAN, batch=1, width=1, in_short=False),
    _talm(CONTAINERD),
    loop("ctr, 4 at once", CONTAINERD, _CTR, batch=_ALL, width=4),
    loop("ctr, 10 at once", CONTAINERD, _CTR, batch=_ALL, width=10, in_short=False),
)


async def listed(store: str, place: Place) -> set[str]:
    """Return the digests of the images that the store's own tool lists.

    A layout has no tool; its index is read.  Raises AgentError when the tool fails.
    """
    if store == LAYOUT:
        index: dict[str, Any] = json.loads((place.layout / "index.json").read_bytes())
        return {entry["digest"] for entry in index["manifests"]}
    environment = [f"{name}={value}" for name, value in place.environment.items()]
    if store == STORAGE:
        command = ["podman", "images", "--digests", "--format", "{{.Digest}}"]
        return set((await run("env", *environment, *command)).split())
    table = await run("env", *environment, "ctr", "images", "check")
    rows = [line.split() for line in table.splitlines()[1:]]
    return {row[2] for row in rows if row[-1] == "true"}  # unpacked, too


def overlay_fault(directory: Path) -> str:
    """Say why the stores cannot be measured on this file system; "" when they can.

    Runtimes fall back to copying every layer whole where there is no overlay: no measure of them.
    """
    parts = {name: directory / f"probe/{name}" for name in ("lower", "upper", "work", "merged")}
    for part in parts.values():
        part.mkdir(parents=True, exist_ok=True)
    options = f"lowerdir={parts['lower']},upperdir={parts['upper']},workdir={parts['work']}"
    mount = ["mount", "-t", "overlay", "overlay", "-o", options, str(parts["merged"])]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        return f"no overlay in {directory}: {done.stderr.strip()}"
    subprocess.run(["umount", str(parts["merged"])], check=True)
    shutil.rmtree(directory / "probe")
    return ""
