"""The workload's image as `scripts/agent_image.py` makes it: read by a reader of our own, and run."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from scripts import agent_image

from talm.api.progress import EXIT_CODES, FailureClass

LARGEST_MIB = 60  # a node pulls it over its thin line before anything else


@dataclass(frozen=True)
class Archive:
    """An OCI archive, taken apart; every blob is what its digest says."""

    index: dict[str, Any]
    manifest: dict[str, Any]
    config: dict[str, Any]
    layers: list[bytes]


def read(path: Path) -> Archive:
    with tarfile.open(path) as packed:
        files = {m.name: packed.extractfile(m).read() for m in packed}  # type: ignore[union-attr]

    def blob(entry: dict[str, Any]) -> bytes:
        algorithm, _, encoded = entry["digest"].partition(":")
        content = files[f"blobs/{algorithm}/{encoded}"]
        assert (hashlib.new(algorithm, content).hexdigest(), len(content)) == (
            encoded,
            entry["size"],
        )
        return content

    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads(files["index.json"])
    (top,) = index["manifests"]
    manifest = json.loads(blob(top))
    layers = [gzip.decompress(blob(layer)) for layer in manifest["layers"]]
    return Archive(index, manifest, json.loads(blob(manifest["config"])), layers)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("image") / "agent.tar"
    agent_image.build(made, "registry.example/agent:1")
    return made


@pytest.fixture(scope="module")
def archive(path: Path) -> Archive:
    return read(path)


@pytest.fixture(scope="module")
def root(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if os.geteuid() != 0:
        pytest.skip("changing the root directory takes root")
    place = tmp_path_factory.mktemp("root")
    for layer in archive.layers:
        with tarfile.open(fileobj=io.BytesIO(layer)) as packed:
            packed.extractall(place, filter="tar")
    return place


def run(archive: Archive, root: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = dict(entry.split("=", 1) for entry in archive.config["config"]["Env"])

    def enter() -> None:
        os.chroot(root)
        os.chdir("/")

    return subprocess.run(
        command, env=environment, preexec_fn=enter, capture_output=True, text=True, check=False
    )


def test_the_image_is_one_for_this_machine_and_small(path: Path, archive: Archive) -> None:
    (top,) = archive.index["manifests"]
    assert top["annotations"]["io.containerd.image.name"] == "registry.example/agent:1"
    assert archive.config["os"] == "linux"
    assert archive.config["rootfs"]["diff_ids"] == [
        f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in archive.layers
    ]
    assert path.stat().st_size < LARGEST_MIB << 20


def test_the_entry_point_is_the_workload(archive: Archive, root: Path) -> None:
    assert archive.config["config"]["Entrypoint"] == ["talm", "agent"]
    done = run(archive, root, "talm", "agent", "pull", "--store", "oci-layout:/tmp/images")
    assert done.returncode == EXIT_CODES[FailureClass.INVALID_SPEC], done.stderr


@pytest.mark.parametrize("program", ["grep", "chroot"])
def test_the_programs_that_the_workload_asks_for_are_there(
    archive: Archive, root: Path, program: str
) -> None:
    done = run(archive, root, program, "--version")
    assert done.stdout.startswith(program), done.stderr


def test_the_image_holds_what_its_lock_names_and_no_more(archive: Archive, root: Path) -> None:
    places = (root / "opt/talm/lib").glob("*/site-packages/*.dist-info")
    installed = {place.name.partition("-")[0].lower() for place in places}
    assert {"aiohttp", "msgspec"} <= installed
    assert not {"pytest", "mypy", "prometheus_client"} & installed
