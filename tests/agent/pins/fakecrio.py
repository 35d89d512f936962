"""A CRI-O as far as pins go: it reads its configuration when told to, and reports by it."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any


class FakeCrio:
    """`images` are the names in its store; `deaf`: it reads nothing again."""

    def __init__(self, root: Path, *images: str, deaf: bool = False) -> None:
        self.root = root
        self.images = set(images)
        self.deaf = deaf
        self.reloads = 0
        self.patterns: list[str] = []
        self.read()

    async def reload(self) -> None:
        self.reloads += 1
        if not self.deaf:
            self.read()

    async def pinned(self, name: str = "") -> frozenset[str]:
        seen = {name} & self.images if name else self.images
        return frozenset(image for image in seen if self._is_pinned(image))

    def read(self) -> None:
        """Every file in order; what one sets stands until another sets it."""
        self.patterns = []
        directory = self.root / "etc/crio/crio.conf.d"
        files = [self.root / "etc/crio/crio.conf"]
        for place, folders, names in os.walk(directory):
            folders.sort()
            files += [Path(place) / name for name in names]
        files[1:] = sorted(files[1:], key=lambda file: file.relative_to(directory).parts)
        for file in files:
            if file.exists():
                content: dict[str, Any] = tomllib.loads(file.read_text())
                image = content.get("crio", {}).get("image", {})
                self.patterns = image.get("pinned_images", self.patterns)

    def _is_pinned(self, image: str) -> bool:
        for pattern in self.patterns:
            if pattern.startswith("*") and pattern.endswith("*"):
                found = pattern.strip("*") in image
            elif pattern.endswith("*"):
                found = image.startswith(pattern[:-1])
            else:
                found = image == pattern
            if found:
                return True
        return False
