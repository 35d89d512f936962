from __future__ import annotations

import functools
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from talm.agent.content.manifests import Image
from talm.agent.stores.oci_archive import IMAGE_NAME, write_archive
from talm.agent.stores.tools import run
from talm.errors import AgentError
from talm.sim.images import build_image

from .samples import docker_listed, resolved, spooled

BUILT = build_image("a", [{"file": bytes(3 << 20)}, {"other": b"x"}])


async def archive(
    image: Image, names: Sequence[str], blobs: Sequence[tuple[str, Path]], file: Path
) -> dict[str, bytes]:
    """The content of the archive that a program reads from its standard input, by name."""
    feed = functools.partial(write_archive, image=image, names=names, blobs=blobs)
    await run("dd", f"of={file}", "status=none", feed=feed)
    with tarfile.open(file) as tar:
        return {entry.name: content.read() for entry in tar if (content := tar.extractfile(entry))}


async def test_documents_and_blobs_lie_where_a_layout_has_them(tmp_path: Path) -> None:
    image, spool = docker_listed(BUILT), spooled(tmp_path / "spool", BUILT)
    blobs = [(digest, spool.whole(digest)) for digest in BUILT.blobs]
    found = await archive(image, ["quay.io/a:1", "quay.io/a:2"], blobs, tmp_path / "archive")
    expected = dict(BUILT.blobs) | {d.digest: d.body for d in image.documents}
    assert json.loads(found.pop("oci-layout")) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads(found.pop("index.json"))
    assert found == {f"blobs/{d.replace(':', '/')}": body for d, body in expected.items()}
    names = [entry["annotations"][IMAGE_NAME] for entry in index["manifests"]]
    assert names == ["quay.io/a:1", "quay.io/a:2"]
    assert {entry["digest"] for entry in index["manifests"]} == {image.digest}


async def test_a_file_that_is_gone_is_a_failure_of_the_store(tmp_path: Path) -> None:
    blobs = [(digest, tmp_path / "gone") for digest in BUILT.blobs]
    with pytest.raises(AgentError) as caught:
        await archive(resolved(BUILT), ["quay.io/a:1"], blobs, tmp_path / "archive")
    assert caught.value.kind == "StoreFailed"
