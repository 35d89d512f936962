"""How one run works: where images go, what is told to whom, how long a failing link is tolerated."""

from __future__ import annotations

import dataclasses
import os
import platform
from pathlib import Path
from typing import Final

from talm.agent.failures import invalid_spec
from talm.agent.spec import Flags, Spec, read_spec
from talm.api.pod import STATE_DIRECTORY

_MACHINES: Final = {"x86_64": "amd64", "aarch64": "arm64", "ppc64le": "ppc64le", "s390x": "s390x"}
_OCI_LAYOUT: Final = "oci-layout:"

DEFAULT_SPOOL: Final = Path(STATE_DIRECTORY) / "spool"  # outside of what a runtime may wipe
TERMINATION_LOG: Final = Path("/dev/termination-log")


def this_architecture() -> str:
    """Return this machine's architecture as an image index writes it (Go's GOARCH)."""
    machine = platform.machine().lower()
    return _MACHINES.get(machine, machine)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The flags of `talm agent`, not yet checked: `run_agent` reports what is wrong in them.

    `store` is KIND:PLACE.  `spool` keeps partial blobs between runs (None: `spool_directory`).
    `progress_config_map` is NAMESPACE/NAME or "".  `run` names this run in the record,
    `pinned_for` the one whose pins its images get ("": itself).
    `retry_for_s`: a request is given up when it has brought no byte for so long.
    `stall_s`: a transfer without a byte for so long is cut and resumed.
    `bandwidth_mbit_s` caps all streams together (None: no cap).
    `job_deadline_s` counts from the Job's start (None: there is no Job); 60 s before, pulling stops.
    `host_root` is where the node's own root is (a pod mounts it or parts of it); the kubelet's file
    is looked for below it unless `kubelet_config` says where.
    """

    config: Path | None = None
    platform_image: str = ""
    additional_images: tuple[str, ...] = ()
    operator_indexes: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    starts: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    space_required: str = ""
    store: str = "oci-layout:/var/lib/talm/images"
    spool: Path | None = None
    streams: int = 4
    progress_config_map: str = ""
    termination_log: Path | None = None
    run: str = ""
    pinned_for: str = ""
    retry_for_s: float = 600.0
    stall_s: float = 30.0
    bandwidth_mbit_s: float | None = None
    job_deadline_s: float | None = None
    host_root: Path = Path("/")
    kubelet_config: Path | None = None
    auth_file: Path | None = None
    architecture: str = dataclasses.field(default_factory=this_architecture)

    def spec(self) -> Spec:
        """Read and check what to pull.  Raises AgentError (InvalidSpec)."""
        flags = Flags(
            platform_image=self.platform_image,
            additional=self.additional_images,
            indexes=self.operator_indexes,
            packages=self.packages,
            starts=self.starts,
            excludes=self.excludes,
            space_required=self.space_required,
        )
        return read_spec(self.config, flags)

    @property
    def bytes_per_s(self) -> float | None:
        """The cap on all streams together; None: no cap."""
        return self.bandwidth_mbit_s and self.bandwidth_mbit_s * 1e6 / 8

    def spool_directory(self) -> Path:
        """Where partial blobs wait: on the node `/var/lib/talm/spool`.

        Beside an OCI layout elsewhere, so that a blob is moved into it and not copied.
        """
        if self.spool:
            return self.spool
        place = Path(self.store.removeprefix(_OCI_LAYOUT))
        if self.store.startswith(_OCI_LAYOUT) and not place.is_relative_to(STATE_DIRECTORY):
            return place / ".spool"
        return DEFAULT_SPOOL

    def progress_target(self) -> tuple[str, str] | None:
        """Namespace and name of the ConfigMap for the record; None when none is wanted."""
        if not self.progress_config_map:
            return None
        namespace, slash, name = self.progress_config_map.partition("/")
        if not (namespace and slash and name) or "/" in name:
            raise invalid_spec(
                f"the progress ConfigMap is {self.progress_config_map!r}, not NAMESPACE/NAME"
            )
        return namespace, name


def default_termination_log() -> Path | None:
    """Return the kubelet's file when this is a container that has one, else None."""
    return TERMINATION_LOG if os.access(TERMINATION_LOG, os.W_OK) else None
