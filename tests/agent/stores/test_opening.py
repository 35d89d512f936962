from __future__ import annotations

from pathlib import Path

import pytest

from talm.agent.stores.containerd import Containerd
from talm.agent.stores.containers_storage import ContainersStorage
from talm.agent.stores.oci_layout import OciLayout
from talm.agent.stores.opening import open_store
from talm.errors import AgentError


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("oci-layout:/a", OciLayout),
        ("oci-layout:a", OciLayout),
        ("containers-storage", ContainersStorage),
        ("containers-storage:/host", ContainersStorage),
        ("containerd", Containerd),
        ("containerd:/run/k3s/containerd/containerd.sock", Containerd),
    ],
)
def test_a_store_is_known_by_its_kind(text: str, kind: type) -> None:
    assert type(open_store(text)) is kind


@pytest.mark.parametrize(
    "text",
    ["", ":", "docker", "oci-layout", "oci-layout:", "containerd:", "containers-storage:host"],
)
def test_anything_else_is_refused_with_what_is_known(text: str) -> None:
    with pytest.raises(AgentError, match=r"containers-storage\[:ROOT\]") as caught:
        open_store(text)
    assert caught.value.kind == "InvalidSpec"


def test_a_store_of_another_file_system_is_below_its_root(tmp_path: Path) -> None:
    (tmp_path / "etc/containers").mkdir(parents=True)
    conf = tmp_path / "etc/containers/storage.conf"
    conf.write_text('[storage]\ndriver = "overlay"\ngraphroot = "/var/images"\n')
    assert open_store(f"containers-storage:{tmp_path}").directory == tmp_path / "var/images"
