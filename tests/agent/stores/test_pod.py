"""The workload's own image as a container of the runtime that it fills, with what its pod may do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from scripts import agent_image

from talm.agent.stores.containerd import Containerd
from talm.agent.stores.tools import run
from talm.api.pod import STATE_DIRECTORY, StoreKind
from talm.errors import AgentError
from talm.sim.images import build_image
from talm.spokes.base import PodTerms
from talm.spokes.ownjob import job
from tests.spokes.world import ORDER, other

from ..faultyregistry import FaultyRegistry
from .conftest import skip_without_tools

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
    """`ctr run`'s words for the pod; `node` has those of the node's directories that are not real."""
    (container,) = spec["containers"]
    paths = {v["name"]: v["hostPath"]["path"] for v in spec["volumes"] if "hostPath" in v}
    paths |= {v["name"]: f"empty/{v['name']}" for v in spec["volumes"] if "emptyDir" in v}
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
    return words + _rights(container["securityContext"])


def _rights(context: dict[str, Any]) -> list[str]:
    if context.get("privileged"):
        return ["--privileged"]
    assert context["capabilities"] == {"drop": ["ALL"]}
    return [word for name in CAPABILITIES.split() for word in ("--cap-drop", f"CAP_{name}")]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("image") / "agent.tar"
    agent_image.build(made, IMAGE)
    return made


class Runtime:
    """Runs the pod in a containerd."""

    def __init__(self, store: Containerd, archive: Path) -> None:
        self._address = str(store.socket)
        self._archive = archive

    async def ctr(self, *words: str) -> str:
        return await run("ctr", "-a", self._address, "-n", "k8s.io", *words)

    async def pull(self, kind: StoreKind, node: Path, image: str, *more: str) -> None:
        """Let the pod bring `image`; when it does not exit with 0, its last words say why."""
        await self.ctr("images", "import", "--snapshotter=native", str(self._archive))
        words = [*options(pod(kind), node), *more]
        program = ["talm", "agent", "pull", "--additional-image", image]
        program += ["--termination-log", f"{STATE_DIRECTORY}/last-words"]
        last_words = node / STATE_DIRECTORY.strip("/") / "last-words"
        try:
            await self.ctr("run", "--rm", "--snapshotter=native", *words, IMAGE, kind, *program)
        except AgentError as exc:
            raise AssertionError(last_words.read_text()) from exc


@pytest.fixture
def runtime(containerd: Containerd, archive: Path) -> Runtime:
    return Runtime(containerd, archive)


@pytest.mark.timeout(180)
async def test_the_pod_s_rights_and_directories_are_enough_for_containerd(
    runtime: Runtime, containerd: Containerd, registry: FaultyRegistry, tmp_path: Path
) -> None:
    node = tmp_path / "node"
    (node / "run").mkdir(parents=True)
    (node / "run/containerd").symlink_to(containerd.socket.parent)
    native = ("--env", "CONTAINERD_SNAPSHOTTER=native")
    await runtime.pull(StoreKind.CONTAINERD, node, registry.add(BUILT), *native)
    digests = {line.split()[2] for line in (await runtime.ctr("images", "ls")).splitlines()[1:]}
    assert BUILT.digest in digests
    assert (node / STATE_DIRECTORY.strip("/") / "spool").is_dir()


@pytest.mark.timeout(180)
async def test_the_pod_s_rights_and_directories_are_enough_for_the_node_s_skopeo(
    runtime: Runtime, registry: FaultyRegistry, tmp_path: Path
) -> None:
    skip_without_tools("skopeo")
    node = tmp_path / "node"
    conf = node / "etc/containers"
    conf.mkdir(parents=True)
    (conf / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    (conf / "storage.conf").write_text(
        '[storage]\ndriver = "vfs"\n'  # which works on every file system
        'graphroot = "/var/lib/containers/storage"\nrunroot = "/run/containers/storage"\n'
    )
    # A drop-in for the very repository, which must not lead the import past the spool.
    (conf / "registries.conf.d").mkdir()
    (conf / "registries.conf.d/a.conf").write_text(
        f'[[registry]]\nprefix = "{registry.host}/a"\nlocation = "{registry.host}/a"\n'
    )
    for real in ("dev", "lib", "lib64", "proc", "usr"):
        (node / real).symlink_to(f"/{real}")
    await runtime.pull(StoreKind.CONTAINERS_STORAGE, node, registry.add(BUILT))
    images = json.loads((node / "var/lib/containers/storage/vfs-images/images.json").read_text())
    assert [name for image in images for name in image["names"]] == [registry.add(BUILT)]
