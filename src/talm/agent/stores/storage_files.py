"""What the files of containers/storage say: which layers and images its store has.

    GRAPHROOT/DRIVER-layers/layers.json     one record per unpacked layer
    GRAPHROOT/DRIVER-images/images.json     one record per image: names, top layer, big data
    GRAPHROOT/DRIVER-images/ID/FILE         "big data": manifests and the config, byte for byte

The library replaces each JSON file at one moment, so reading takes no lock.  Nothing is written
here.  The system's store only: a user's own one (rootless podman) is not looked for.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from talm.agent.content.manifests import Image, parts_of
from talm.agent.failures import failure
from talm.agent.stores.unpacked import NotThere, assemble
from talm.agent.transfer.spool import storage_errors
from talm.api.progress import FailureClass

_CONFIGURATIONS: Final = ("etc/containers/storage.conf", "usr/share/containers/storage.conf")
_DEFAULT_ROOT: Final = "/var/lib/containers/storage"
_DEFAULT_DRIVER: Final = "overlay"
_PLAIN: Final = frozenset("0123456789abcdefghijklmnopqrstuvwxyz.")


class LayerRecord(msgspec.Struct):
    """A layer.  `flags` has "incomplete" while it is being unpacked."""

    id: str
    parent: str = ""
    compressed: str = msgspec.field(default="", name="compressed-diff-digest")
    uncompressed: str = msgspec.field(default="", name="diff-digest")
    flags: dict[str, Any] | None = None

    @property
    def is_complete(self) -> bool:
        """Whether it was unpacked to its end."""
        return not (self.flags or {}).get("incomplete")


class ImageRecord(msgspec.Struct):
    """An image.  `big_data`: digest by the item's name."""

    id: str
    names: list[str] | None = None
    layer: str = ""
    big_data: dict[str, str] | None = msgspec.field(default=None, name="big-data-digests")


_Record = TypeVar("_Record", LayerRecord, ImageRecord)


class StorageFiles:
    """One look at the store: what it has at this moment."""

    def __init__(self, roots: tuple[Path, ...], driver: str) -> None:
        self._roots = roots
        self._driver = driver
        self._layers: dict[str, LayerRecord] = {}
        self._images: list[tuple[Path, ImageRecord]] = []
        for root in roots:
            for layer in self._records(root, "layers", list[LayerRecord]):
                self._layers[layer.id] = layer
            for image in self._records(root, "images", list[ImageRecord]):
                self._images.append((root / f"{driver}-images" / image.id, image))

    def layer_digests(self) -> set[str]:
        """Return the digests, compressed and not, of all layers that are there whole."""
        whole = [layer for layer in self._layers.values() if layer.is_complete]
        return {layer.compressed for layer in whole} | {layer.uncompressed for layer in whole}

    def write_layer(self, digest: str, target: Path) -> bool:
        """Write a layer's archive, uncompressed; False when that is not what was unpacked."""
        for layer in self._layers.values():
            if layer.compressed == digest and layer.is_complete:
                return self._assemble(layer, target)
        return False

    def _assemble(self, layer: LayerRecord, target: Path) -> bool:
        for root in self._roots:
            split = root / f"{self._driver}-layers" / f"{layer.id}.tar-split.gz"
            for tree in (f"{layer.id}/diff", f"dir/{layer.id}"):  # overlay; vfs
                with contextlib.suppress(NotThere):
                    if assemble(split, root / self._driver / tree, target) == layer.uncompressed:
                        return True
        target.unlink(missing_ok=True)
        return False

    def config_file(self, digest: str) -> Path | None:
        """Return the file of an image's config, when an image that has it is there."""
        for directory, image in self._images:
            if (image.big_data or {}).get(digest) == digest:
                return _big_data_file(directory, digest)
        return None

    def holds(self, image: Image, name: str) -> bool:
        """Tell whether `name` is this image, with its documents, its config and every layer."""
        for directory, record in self._images:
            if name in (record.names or ()):
                return self._is_whole(directory, record, image)
        return False

    def _is_whole(self, directory: Path, record: ImageRecord, image: Image) -> bool:
        parts = parts_of(image)
        items = {f"manifest-{document.digest}": document.digest for document in image.documents}
        items[parts.config.digest] = parts.config.digest
        if not all(_is_intact(_big_data_file(directory, name), items[name]) for name in items):
            return False
        chain = list(self._chain(record.layer))
        return len(chain) == len(parts.layers) and all(
            layer.is_complete and self._unpacked(layer.id) for layer in chain
        )

    def _chain(self, top: str) -> Iterator[LayerRecord]:
        """Yield the layers from the top down; ends early where one is missing."""
        seen: set[str] = set()
        while top and top not in seen and (layer := self._layers.get(top)):
            seen.add(top)
            yield layer
            top = layer.parent

    def _unpacked(self, layer: str) -> bool:
        return any(
            (root / self._driver / place).is_dir()
            for root in self._roots
            for place in (layer, f"dir/{layer}")  # overlay; vfs
        )

    def _records(self, root: Path, what: str, kind: type[list[_Record]]) -> list[_Record]:
        file = root / f"{self._driver}-{what}" / f"{what}.json"
        with storage_errors(file):
            try:
                return msgspec.json.decode(file.read_bytes(), type=kind)
            except FileNotFoundError:
                return []
            except msgspec.MsgspecError as exc:
                raise failure(FailureClass.STORE_FAILED, f"{file} is damaged: {exc}") from exc


def find_storage(root: Path, environment: Mapping[str, str] = os.environ) -> tuple[Path, ...]:
    """Return the directories of the store that `root` (of a file system) has.

    The first is where images go: the `imagestore` when there is one beside the containers' own.  As
    containers/storage finds them: $CONTAINERS_STORAGE_CONF, /etc, /usr/share, else its default.
    Raises AgentError (StoreFailed) when the configuration cannot be read.
    """
    storage = _configuration(root, environment)
    options = storage.get("options") or {}
    places = [
        storage.get("imagestore"),
        storage.get("graphroot") or _DEFAULT_ROOT,
        *(options.get("additionalimagestores") or ()),
    ]
    return tuple(root / str(place).lstrip("/") for place in places if place)


def find_driver(root: Path, graph_root: Path, environment: Mapping[str, str] = os.environ) -> str:
    """Return the storage driver's name: the configured one, else the one that was in use."""
    named = environment.get("STORAGE_DRIVER") or _configuration(root, environment).get("driver")
    if named:
        return str(named)
    used = sorted(graph_root.glob("*-images"))
    return used[0].name.removesuffix("-images") if used else _DEFAULT_DRIVER


def _configuration(root: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    named = environment.get("CONTAINERS_STORAGE_CONF")
    for name in (named,) if named else _CONFIGURATIONS:
        file = root / name.lstrip("/")
        with storage_errors(file):
            try:
                content = tomllib.loads(file.read_text())
            except FileNotFoundError:
                continue
            except ValueError as exc:
                raise failure(FailureClass.STORE_FAILED, f"{file} is damaged: {exc}") from exc
        storage = content.get("storage")
        return storage if isinstance(storage, dict) else {}
    return {}


def _big_data_file(directory: Path, name: str) -> Path:
    """Return where the library keeps an item: names that are no plain words in base64."""
    if set(name) <= _PLAIN:
        return directory / name
    return directory / f"={base64.b64encode(name.encode()).decode()}"


def _is_intact(file: Path, digest: str) -> bool:
    algorithm, _, encoded = digest.partition(":")
    with storage_errors(file):
        try:
            return hashlib.new(algorithm, file.read_bytes()).hexdigest() == encoded
        except FileNotFoundError:
            return False
