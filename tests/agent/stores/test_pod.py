"""The workload's own image as a container of the runtime that it fills, with what its pod may do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scripts import agent_image

from talm.agent.stores.containerd import Containerd
from talm.agent.stores.tools import run
from talm.api.pod import STATE_DIRECTORY, StoreKind
from talm.sim.images import build_image
from talm.spokes.base import PodTerms
from talm.spokes.ownjob import job
from tests.spokes.world import ORDER, other

from ..faultyregistry import FaultyRegistry

IMAGE = "registry.example/talm/agent:test"
BUILT = build_image("a", [{"file": b"content"}])
# What `ctr run` gives a container that nothing is taken from: the same as a pod's.
CAPABILITIES = (
    "AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE NET_RAW SETFCAP SETGID "
    "SETPCAP SETUID SYS_CHROOT"
)  # fmt: skip


def pod(store: StoreKind) -> dict[str, Any]:
    template = job(other(ORDER, pod=PodTerms(store)), "talm-test")["spec"]["template"]
    spec: dict[str, Any] = template["spec"]
    return spec


def options(spec: dict[str, Any], node: Path) -> list[str]:
    """`ctr run`'s words for the pod; `node` has the node's directories."""
    (container,) = spec["containers"]
    paths = {v["name"]: v["hostPath"]["path"] for v in spec["volumes"] if "hostPath" in v}
    words = ["--net-host"] if spec["hostNetwork"] else []
    for mount in container["volumeMounts"]:
        if mount["name"] in paths:
            source = node / paths[mount["name"]].strip("/")
            source.mkdir(parents=True, exist_ok=True)
            how = "rbind:ro" if mount.get("readOnly") else "rbind:rw"
            words += ["--mount", f"type=bind,src={source},dst={mount['mountPath']},options={how}"]
    given = {e["name"]: e.get("value", "run-1") for e in container["env"]}
    for name in ("TALM_CONFIG", "TALM_PROGRESS_CONFIGMAP"):  # no API server here
        del given[name]
    for name, value in given.items():
        words += ["--env", f"{name}={value}"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    for capability in CAPABILITIES.split():
        words += ["--cap-drop", f"CAP_{capability}"]
    return words


@pytest.mark.timeout(180)
async def test_the_pod_s_rights_and_directories_are_enough_for_containerd(
    containerd: Containerd, registry: FaultyRegistry, tmp_path: Path
) -> None:
    archive = tmp_path / "agent.tar"
    agent_image.build(archive, IMAGE)
    node = tmp_path / "node"
    (node / "run").mkdir(parents=True)
    (node / "run/containerd").symlink_to(containerd.socket.parent)

    async def ctr(*words: str) -> str:
        return await run("ctr", "-a", str(containerd.socket), "-n", "k8s.io", *words)

    await ctr("images", "import", "--snapshotter=native", str(archive))
    words = [*options(pod(StoreKind.CONTAINERD), node), "--env", "CONTAINERD_SNAPSHOTTER=native"]
    program = ("talm", "agent", "pull", "--additional-image", registry.add(BUILT))
    await ctr("run", "--rm", "--snapshotter=native", *words, IMAGE, tmp_path.name, *program)

    digests = {line.split()[2] for line in (await ctr("images", "ls")).splitlines()[1:]}
    assert BUILT.digest in digests
    assert (node / STATE_DIRECTORY.strip("/") / "spool").is_dir()
