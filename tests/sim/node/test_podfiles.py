"""What needs no API server; the rest is tested with one in tests/integration/test_node.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from talm.kube.client import Client
from talm.sim.node.podfiles import ClusterAccess, NotYet, PodFiles, field
from talm.sim.node.podwire import PodMeta, PodObject

PYTHON = ("/usr/bin/python3", "-m", "talm")


def pod(container: dict[str, Any], *volumes: dict[str, Any]) -> PodObject:
    meta = PodMeta(name="p", namespace="ns", uid="u", labels={"app": "x"})
    full = {"name": "main", "image": "i", **container}
    spec = {"nodeName": "n", "containers": [full], "volumes": list(volumes)}
    return PodObject(metadata=meta, spec=spec)


@pytest.fixture
def files(tmp_path: Path) -> PodFiles:
    nobody: Client = None  # type: ignore[assignment] # no test here needs the API server
    access = ClusterAccess("https://127.0.0.1:6443", "a CA")
    return PodFiles(nobody, access, pods=tmp_path / "pods", host=tmp_path / "host")


@pytest.mark.parametrize(
    ("container", "words"),
    [
        ({}, PYTHON),
        ({"args": ["agent", "pull"]}, (*PYTHON, "agent", "pull")),
        ({"command": ["talm", "agent"], "args": ["pull"]}, (*PYTHON, "agent", "pull")),
        ({"command": ["/usr/bin/talm"], "args": ["run"]}, (*PYTHON, "run")),
        ({"command": ["/bin/bash", "-c"], "args": ["exit 0"]}, ("/bin/bash", "-c", "exit 0")),
    ],
)
async def test_a_command_takes_the_place_of_the_images_program(
    files: PodFiles, container: dict[str, Any], words: tuple[str, ...]
) -> None:
    launch = await files.prepare(pod(container), PYTHON, "talm")
    assert launch.argv == words


@pytest.mark.parametrize(
    ("text", "moved"),
    [
        ("/data", "HOST"),
        ("/data/", "HOST/"),
        ("--store=oci-layout:/data/images", "--store=oci-layout:HOST/images"),
        ("/data:/data/x", "HOST:HOST/x"),
        ("cat /data/x", "cat HOST/x"),
        ("/data/deep/x", "DEEP/x"),
        ("/database", "/database"),
        ("quay.io/data/x", "quay.io/data/x"),
        ("/other/data", "/other/data"),
    ],
)
async def test_mount_paths_are_rewritten_where_they_stand_as_paths(
    files: PodFiles, tmp_path: Path, text: str, moved: str
) -> None:
    volumes = (
        {"name": "data", "hostPath": {"path": "/srv"}},
        {"name": "deep", "emptyDir": {}},
    )
    mounts = [{"name": "data", "mountPath": "/data"}, {"name": "deep", "mountPath": "/data/deep"}]
    container = {
        "args": [text],
        "env": [{"name": "X", "value": text}],
        "volumeMounts": mounts,
    }
    launch = await files.prepare(pod(container, *volumes), ("prog",), "prog")
    host, deep = tmp_path / "host/srv", tmp_path / "pods/ns_p_u/volumes/deep"
    expected = moved.replace("HOST", str(host)).replace("DEEP", str(deep))
    assert launch.argv == ("prog", expected)
    assert launch.environment["X"] == expected
    assert host.is_dir()
    assert deep.is_dir()


async def test_names_are_expanded_as_kubernetes_does(files: PodFiles) -> None:
    env = [
        {"name": "NS", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
        {"name": "BOTH", "value": "$(NS)/$(UNKNOWN)/$$(NS)"},
    ]
    launch = await files.prepare(pod({"args": ["$(BOTH)"], "env": env}), ("prog",), "prog")
    assert launch.argv == ("prog", "ns/$(UNKNOWN)/$(NS)")


async def test_a_process_sees_its_pods_environment_and_nothing_of_ours(
    files: PodFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_TEST", "x")
    launch = await files.prepare(pod({}), ("prog",), "prog")
    assert "SECRET_OF_THE_TEST" not in launch.environment
    assert launch.environment["TALM_ROOT"] == str(launch.directory)
    assert launch.environment["TALM_TERMINATION_LOG"] == str(launch.termination_log)
    assert "KUBECONFIG" not in launch.environment, "the pod has no token"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "p"),
        ("spec.nodeName", "n"),
        ("metadata.labels['app']", "x"),
        ("metadata.labels['none']", ""),
        ("metadata.annotations['none']", ""),
    ],
)
def test_fields_of_the_pod_are_handed_down(path: str, value: str) -> None:
    assert field(pod({}), path) == value


async def test_a_field_that_is_not_known_is_a_config_error(files: PodFiles) -> None:
    env = [{"name": "X", "valueFrom": {"fieldRef": {"fieldPath": "status.nothing"}}}]
    with pytest.raises(NotYet, match="variable X") as caught:
        await files.prepare(pod({"env": env}), ("prog",), "prog")
    assert caught.value.reason == "CreateContainerConfigError"


async def test_a_volume_of_another_kind_keeps_the_container_waiting(files: PodFiles) -> None:
    with pytest.raises(NotYet, match="csi"):
        await files.prepare(pod({}, {"name": "v", "csi": {"driver": "d"}}), ("prog",), "prog")


async def test_host_files_and_directories_are_made(files: PodFiles, tmp_path: Path) -> None:
    volumes = (
        {"name": "a", "hostPath": {"path": "/etc/resolv.conf", "type": "File"}},
        {"name": "b", "hostPath": {"path": "/run", "type": "Directory"}},
    )
    await files.prepare(pod({}, *volumes), ("prog",), "prog")
    assert (tmp_path / "host/etc/resolv.conf").is_file()
    assert (tmp_path / "host/run").is_dir()
    files.remove(pod({}))
    assert not (tmp_path / "pods/ns_p_u").exists()
