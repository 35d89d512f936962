"""Against files as the library writes them; that it does is for test_containers_storage.py."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from talm.agent.content.manifests import parts_of
from talm.agent.stores.storage_files import StorageFiles, find_driver, find_storage
from talm.errors import AgentError
from talm.sim.images import build_image

from .samples import listed

BUILT = build_image("a", [{"file": b"content"}, {"more": b"content"}])
IMAGE = listed(BUILT)
NAME = f"quay.io/a@{IMAGE.digest}"
CONFIG = parts_of(IMAGE).config.digest
LAYERS = [layer.digest for layer in parts_of(IMAGE).layers]


def encoded(name: str) -> str:
    return f"={base64.b64encode(name.encode()).decode()}"


class Library:
    """Writes what containers/storage would have on disk after a pull of IMAGE."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.layers: list[dict[str, Any]] = [
            {"id": "bottom", "compressed-diff-digest": LAYERS[0], "diff-digest": "sha256:0"},
            {
                "id": "top",
                "parent": "bottom",
                "compressed-diff-digest": LAYERS[1],
                "diff-digest": "sha256:1",
            },
        ]
        self.items = {f"manifest-{d.digest}": d.body for d in IMAGE.documents}
        self.items[CONFIG] = BUILT.blobs[CONFIG]
        self.image: dict[str, Any] = {
            "id": "image",
            "names": [NAME],
            "layer": "top",
            "big-data-digests": {CONFIG: CONFIG},
        }

    def files(self) -> StorageFiles:
        (self.root / "overlay-layers").mkdir()
        (self.root / "overlay-layers/layers.json").write_text(json.dumps(self.layers))
        for layer in self.layers:
            (self.root / "overlay" / layer["id"]).mkdir(parents=True)
        (self.root / "overlay-images/image").mkdir(parents=True)
        (self.root / "overlay-images/images.json").write_text(json.dumps([self.image]))
        for name, content in self.items.items():
            (self.root / "overlay-images/image" / encoded(name)).write_bytes(content)
        return StorageFiles((self.root,), "overlay")


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path)


def test_an_image_is_there_when_every_part_is(library: Library) -> None:
    files = library.files()
    assert files.holds(IMAGE, NAME)
    assert not files.holds(IMAGE, "quay.io/a:1")
    assert files.layer_digests() >= set(LAYERS)
    config = files.config_file(CONFIG)
    assert config is not None
    assert config.read_bytes() == BUILT.blobs[CONFIG]


def test_an_empty_store_has_nothing(tmp_path: Path) -> None:
    files = StorageFiles((tmp_path,), "overlay")
    assert not files.holds(IMAGE, NAME)
    assert not files.layer_digests()
    assert files.config_file(CONFIG) is None


def test_a_layer_that_was_not_unpacked_to_its_end_does_not_count(library: Library) -> None:
    library.layers[1]["flags"] = {"incomplete": True}
    files = library.files()
    assert not files.holds(IMAGE, NAME)
    assert LAYERS[1] not in files.layer_digests()


def test_a_layer_without_its_files_does_not_count_as_there(library: Library) -> None:
    files = library.files()
    (library.root / "overlay/bottom").rmdir()
    assert not files.holds(IMAGE, NAME)


def test_a_broken_chain_is_noticed(library: Library) -> None:
    del library.layers[0]
    assert not library.files().holds(IMAGE, NAME)


def test_layers_that_name_each_other_as_parents_end_nothing(library: Library) -> None:
    library.layers[0]["parent"] = "top"
    assert library.files().holds(IMAGE, NAME)


@pytest.mark.parametrize("item", [f"manifest-{IMAGE.digest}", CONFIG])
def test_damaged_documents_are_noticed(library: Library, item: str) -> None:
    library.items[item] = b"damaged"
    assert not library.files().holds(IMAGE, NAME)


def test_a_damaged_list_is_a_failure_of_the_store(library: Library, tmp_path: Path) -> None:
    (tmp_path / "overlay-layers").mkdir()
    (tmp_path / "overlay-layers/layers.json").write_text("{")
    with pytest.raises(AgentError, match=r"layers\.json is damaged"):
        StorageFiles((tmp_path,), "overlay")


def test_the_store_is_where_its_configuration_says(tmp_path: Path) -> None:
    (tmp_path / "storage.conf").write_text(
        '[storage]\ndriver = "vfs"\ngraphroot = "/graph"\n'
        '[storage.options]\nadditionalimagestores = ["/more"]\n'
    )
    environment = {"CONTAINERS_STORAGE_CONF": "/storage.conf"}
    assert find_storage(tmp_path, environment) == (tmp_path / "graph", tmp_path / "more")
    assert find_driver(tmp_path, tmp_path / "graph", environment) == "vfs"
    named = {**environment, "STORAGE_DRIVER": "btrfs"}
    assert find_driver(tmp_path, tmp_path / "graph", named) == "btrfs"


def test_images_go_to_the_image_store_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "storage.conf").write_text(
        '[storage]\ndriver = "overlay"\ngraphroot = "/graph"\nimagestore = "/images"\n'
    )
    environment = {"CONTAINERS_STORAGE_CONF": "/storage.conf"}
    assert find_storage(tmp_path, environment) == (tmp_path / "images", tmp_path / "graph")


def test_without_a_configuration_the_defaults_count(tmp_path: Path) -> None:
    graph = tmp_path / "var/lib/containers/storage"
    assert find_storage(tmp_path, {}) == (graph,)
    assert find_driver(tmp_path, graph, {}) == "overlay"
    (graph / "vfs-images").mkdir(parents=True)
    assert find_driver(tmp_path, graph, {}) == "vfs"


def test_a_damaged_configuration_is_a_failure_of_the_store(tmp_path: Path) -> None:
    (tmp_path / "storage.conf").write_text("[storage")
    with pytest.raises(AgentError, match=r"storage\.conf is damaged"):
        find_storage(tmp_path, {"CONTAINERS_STORAGE_CONF": "/storage.conf"})
