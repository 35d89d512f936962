"""What a node finds on its disk when it starts, with the reason of each setting that needs one.

    directory/            in the box
      etc/                /etc              only what is written here: nothing of the machine's
      lib/                /var/lib          containerd's root is a disk of its own, of limited size
      log/                /var/log          the pods' logs
      sysctl/             /proc/sys/...     the kubelet sets them for the whole machine otherwise

Paths are those of a node that kubeadm has set up, since the workload looks for them there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from talm.sim.plane.identities import write_private
from talm.sim.plane.listen import LOOPBACK

CONTAINERD_ROOT: Final = "/var/lib/containerd"
CONTAINERD_CONFIG: Final = "/etc/containerd/config.toml"
SOCKET: Final = "/run/containerd/containerd.sock"
KUBECONFIG: Final = "/etc/kubernetes/kubelet.conf"
KUBELET_CONFIG: Final = "/var/lib/kubelet/config.yaml"
POD_LOGS: Final = "/var/log/pods"
PAUSE_IMAGE: Final = "localhost/talm/pause:1"

_CERTS: Final = "/etc/containerd/certs.d"
_RUN_MIB: Final = 64
# As the kubelet wants them (pkg/util/sysctl); it writes those that are otherwise.
_SYSCTLS: Final = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1_000_000,
    "kernel/keys/root_maxbytes": 25_000_000,
}
_ETC: Final = {
    "hosts": f"{LOOPBACK} localhost\n",
    "resolv.conf": f"nameserver {LOOPBACK}\n",
    "nsswitch.conf": "hosts: files dns\n",
    "passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "group": "root:x:0:\n",
    "machine-id": "0123456789abcdef0123456789abcdef\n",
    "os-release": "ID=talm\n",
}
# Enough for the node to be ready.  A pod that wants an address of its own does not start.
_NETWORK: Final = {"cniVersion": "0.4.0", "name": "loopback", "plugins": [{"type": "loopback"}]}


@dataclass(frozen=True, slots=True)
class ImageDisk:
    """containerd's file system in memory, and when the kubelet collects images on it.

    Above `gc_high_percent` it removes unused images, the longest unused first, until no more than
    `gc_low_percent` is used; it looks every 5 minutes, counted from its start.
    """

    mib: int = 1024
    gc_high_percent: int = 85
    gc_low_percent: int = 80


def binds(directory: Path) -> dict[str, str]:
    """What of `directory` is seen where in the box."""
    seen = {"/etc": "etc", "/var/lib": "lib", "/var/log": "log"}
    seen |= {f"/proc/sys/{name}": f"sysctl/{name}" for name in _SYSCTLS}
    return {inside: str(directory / source) for inside, source in seen.items()}


def disks(images: ImageDisk) -> dict[str, int]:
    """The file systems that are in memory, in MiB."""
    return {"/run": _RUN_MIB, CONTAINERD_ROOT: images.mib}


def lay_out(directory: Path, *, cni_programs: Path, mirrors: Mapping[str, str]) -> None:
    """Write what does not depend on the box; `mirrors`: registry -> URL where it really is."""
    for name, value in _SYSCTLS.items():
        _write(directory / "sysctl" / name, f"{value}\n")
    etc = directory / "etc"
    for name, text in _ETC.items():
        _write(etc / name, text)
    _write(etc / "containerd/config.toml", _containerd(cni_programs))
    _write(etc / "cni/net.d/10-loopback.conflist", json.dumps(_NETWORK))
    for registry, url in mirrors.items():
        _write(etc / "containerd/certs.d" / registry / "hosts.toml", f'server = "{url}"\n')
    (etc / "kubernetes").mkdir(exist_ok=True)
    for path in ("lib/containerd", "lib/kubelet", "log"):
        (directory / path).mkdir(parents=True, exist_ok=True)


def write_kubelet(directory: Path, *, kubeconfig: Path, cgroup: str, images: ImageDisk) -> None:
    """Write the kubelet's identity and its configuration."""
    write_private(directory / KUBECONFIG.lstrip("/"), kubeconfig.read_bytes())
    text = json.dumps(_kubelet(cgroup, images), indent=2)  # JSON is YAML
    _write(directory / "lib" / KUBELET_CONFIG.removeprefix("/var/lib/"), text)


def _containerd(cni_programs: Path) -> str:
    return f"""\
version = 2
root = "{CONTAINERD_ROOT}"
state = "{Path(SOCKET).parent}"
# opt makes a directory below /opt; the snapshotters want devices or other file systems
disabled_plugins = [
  "io.containerd.internal.v1.opt", "io.containerd.nri.v1.nri",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
]
[grpc]
address = "{SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
stream_server_address = "{LOOPBACK}"
# without CAP_SYS_RESOURCE, as in many virtual machines, runc fails to set another one
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{cni_programs}"
conf_dir = "/etc/cni/net.d"
[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "{_CERTS}"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
"""


def _kubelet(cgroup: str, images: ImageDisk) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "enableServer": False,  # nobody asks it for logs: they are files
        "healthzPort": 0,
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroup}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "makeIPTablesUtilChains": False,  # the network is the machine's
        # How full the machine is says nothing of the node; the images' file system is its own.
        "evictionHard": {
            "memory.available": "0%",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "imagefs.available": "2%",
        },
        "imageGCHighThresholdPercent": images.gc_high_percent,
        "imageGCLowThresholdPercent": images.gc_low_percent,
        # 0 would mean its default of 2 minutes.  An image's age counts from the collection that first
        # sees it, five minutes after the last one: this lets that one take it already.
        "imageMinimumGCAge": "-1s",
        "resolvConf": "/etc/resolv.conf",
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",  # else below /usr
        "nodeStatusUpdateFrequency": "2s",
        "syncFrequency": "5s",
    }


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
