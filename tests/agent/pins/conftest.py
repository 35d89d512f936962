from __future__ import annotations

from pathlib import Path

import pytest

from talm.agent.content.manifests import Image
from talm.sim.images import build_image
from tests.agent.stores.samples import resolved

DIRECTORY = "etc/crio/crio.conf.d"


def image_of(repository: str) -> Image:
    """An image of its own: what is in it tells its repository."""
    built = build_image(repository, [{"file": repository.encode()}])
    return resolved(built, f"registry.example/{repository}@")


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """The root of a node with CRI-O's directories."""
    (tmp_path / DIRECTORY).mkdir(parents=True)
    return tmp_path


def write(root: Path, name: str, *pinned: str) -> None:
    """A file of configuration that lists `pinned`."""
    file = root / "etc/crio" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    listed = ", ".join(f'"{entry}"' for entry in pinned)
    file.write_text(f"[crio.image]\npinned_images = [{listed}]\n")
