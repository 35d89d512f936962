from __future__ import annotations

from pathlib import Path

import pytest

from talm.agent.nodefacts import Room, measure
from talm.agent.settings import Settings
from talm.agent.space import Role
from talm.agent.stores.containers_storage import ContainersStorage
from talm.agent.stores.oci_layout import OciLayout

KIND = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"


def test_places_on_one_file_system_are_one(tmp_path: Path) -> None:
    places = {Role.IMAGES: tmp_path / "not" / "there", Role.SPOOL: tmp_path}
    (found,) = measure(places)
    assert found.roles == {Role.IMAGES, Role.SPOOL}
    assert found.place == str(tmp_path)
    assert 0 < found.free <= found.size


def test_a_tmpfs_is_measured_as_any_other_file_system(tmp_path: Path) -> None:
    memory = Path("/dev/shm")  # noqa: S108
    if memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no tmpfs at /dev/shm")
    (disk, shm) = measure({Role.IMAGES: tmp_path, Role.SPOOL: memory / "not" / "there"})
    assert disk.roles == {Role.IMAGES}
    assert shm.roles == {Role.SPOOL}
    assert 0 < shm.free <= shm.size
    assert 0 < shm.inodes_free <= shm.inodes


def test_places_on_two_file_systems_are_two(tmp_path: Path) -> None:
    found = measure({Role.IMAGES: tmp_path, Role.SPOOL: Path("/proc")})
    assert [system.roles for system in found] == [{Role.IMAGES}, {Role.SPOOL}]


def test_the_kubelets_own_file_system_is_looked_at_where_it_is_mounted(tmp_path: Path) -> None:
    place = f"oci-layout:{tmp_path}/images"
    limits = f"{KIND}evictionHard: {{nodefs.available: '100%'}}\nimageGCHighThresholdPercent: 100"
    config = tmp_path / "kubelet.yaml"
    config.write_text(limits)
    settings = Settings(host_root=tmp_path, store=place, kubelet_config=config)
    store = OciLayout(tmp_path)
    assert Room(settings, store).warnings() == ()
    (tmp_path / "var/lib/kubelet").mkdir(parents=True)
    (said,) = Room(settings, store).warnings()
    assert "image store and spool and kubelet" in said


def test_a_run_s_copies_count_where_skopeo_makes_them(tmp_path: Path) -> None:
    node, spool = tmp_path / "node", tmp_path / "spool"
    spool.mkdir()
    store = ContainersStorage(node)
    assert ContainersStorage().import_directory(spool) == spool
    assert store.import_directory(node / "var/lib/talm/spool") == node / "var/lib/talm/spool"
    assert store.import_directory(spool) == node / "var/tmp"
    seen = node / str(spool).lstrip("/")
    seen.parent.mkdir(parents=True)
    seen.mkdir()
    assert store.import_directory(spool) == node / "var/tmp", "another directory of this name"
    seen.rmdir()
    seen.symlink_to(spool)
    assert store.import_directory(spool) == seen
    assert OciLayout(tmp_path).import_directory(spool) is None
