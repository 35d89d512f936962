"""The image of the process that holds a pod's namespaces, made here: no registry is asked for it."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

from talm.sim.images import INDEX, MANIFEST, build_image, descriptor, digest_of
from talm.sim.programs import sleeps


def write_pause(target: Path, name: str) -> None:
    """Write it as an OCI archive that `ctr images import` knows under `name`."""
    image = build_image("pause", [{"pause": sleeps()}], command=["/pause"])
    top = descriptor(MANIFEST, image.manifest)
    top["annotations"] = {"io.containerd.image.name": name}
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [top]}
    files = {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": json.dumps(index).encode(),
    }
    for blob in (image.manifest, *image.blobs.values()):
        files[f"blobs/{digest_of(blob).replace(':', '/')}"] = blob
    with tarfile.open(target, "w") as archive:
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
