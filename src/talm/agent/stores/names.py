"""Under which names a runtime finds an image.

A pod's image string is what is looked up: by digest when it has one, else by tag.  Runtimes complete
the names of Docker's hub (`docker.io/busybox` is `docker.io/library/busybox`), so we do too.
"""

from __future__ import annotations

from typing import Final

from talm.agent.content.manifests import Image
from talm.agent.content.references import Reference

_HUB: Final = "docker.io"
_HUBS: Final = (_HUB, "index.docker.io")


def repository(reference: Reference) -> str:
    """Return registry and path as a runtime writes them."""
    if reference.registry not in _HUBS:
        return f"{reference.registry}/{reference.path}"
    path = reference.path if "/" in reference.path else f"library/{reference.path}"
    return f"{_HUB}/{path}"


def names_of(image: Image) -> tuple[str, ...]:
    """Return the names that the image gets: `REPOSITORY@DIGEST`, then the tag that led to it.

    A tag beside a digest is decoration: nobody has asked the registry what it means.
    """
    name = repository(image.reference)
    by_digest = f"{name}@{image.digest}"
    if image.reference.digest:
        return (by_digest,)
    return (by_digest, f"{name}:{image.reference.version}")
