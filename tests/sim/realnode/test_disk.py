"""A node's files, read by those who look for them: the workload beside the runtime."""

from __future__ import annotations

from pathlib import Path

from talm.agent.content.references import parse
from talm.agent.kubelet import kubelet_rules
from talm.agent.transfer.mirrors import endpoints
from talm.agent.transfer.node import read_node
from talm.sim.realnode import disk
from talm.sim.realnode.disk import ImageDisk

HERE = "http://127.0.0.1:5000"


def laid_out(directory: Path) -> Path:
    """A root in which the node's directories are where the box shows them."""
    disk.lay_out(directory, cni_programs=Path("/cni"), mirrors={"registry.example.com": HERE})
    kubeconfig = directory / "node.kubeconfig"
    kubeconfig.write_text("identity")
    images = ImageDisk(gc_high_percent=60, gc_low_percent=10)
    disk.write_kubelet(directory, kubeconfig=kubeconfig, cgroup="talm-node-1", images=images)
    root = directory / "root"
    for inside, source in disk.binds(directory).items():
        place = root / inside.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(source)
    return root


def test_the_workload_reads_the_kubelet_s_limits_where_the_kubelet_does(tmp_path: Path) -> None:
    root = laid_out(tmp_path)
    rules = kubelet_rules(root)
    assert rules.source == str(root / disk.KUBELET_CONFIG.lstrip("/"))
    assert rules.gc_high_percent == 60
    assert (rules.imagefs.share, rules.nodefs.share) == (0.02, 0.0)


def test_the_workload_reaches_a_registry_where_the_runtime_does(tmp_path: Path) -> None:
    node = read_node(laid_out(tmp_path), None, {})
    (endpoint,) = endpoints(node.mirrors, parse("registry.example.com/a:1"))
    assert endpoint.url("manifests/1").startswith(HERE)


def test_the_kubelet_s_identity_is_its_owner_s_alone(tmp_path: Path) -> None:
    file = laid_out(tmp_path) / disk.KUBECONFIG.lstrip("/")
    assert file.read_text() == "identity"
    assert file.stat().st_mode & 0o077 == 0


def test_no_system_setting_is_the_machine_s(tmp_path: Path) -> None:
    shown = disk.binds(tmp_path)
    assert {name for name in shown if name.startswith("/proc/sys/")} == {
        "/proc/sys/vm/overcommit_memory",
        "/proc/sys/vm/panic_on_oom",
        "/proc/sys/kernel/panic",
        "/proc/sys/kernel/panic_on_oops",
        "/proc/sys/kernel/keys/root_maxkeys",
        "/proc/sys/kernel/keys/root_maxbytes",
    }
