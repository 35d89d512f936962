"""What to pull: the keys of the ConfigMap (mounted as files) and the flags, as one checked value.

Not decided here: where it goes and how (settings.py).  A key whose meaning this version does not
carry out is refused when it is set: a run that ignored it would be called a success.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Final

from talm.agent.failures import invalid_spec
from talm.agent.references import Reference, parse_lines

PLATFORM_IMAGE: Final = "platform.image"
ADDITIONAL_IMAGES: Final = "additionalImages"
SPACE_REQUIRED: Final = "spaceRequired"
UNSUPPORTED: Final = (
    "operators.indexes",
    "operators.packagesAndChannels",
    "excludePrecachePatterns",
)


@dataclasses.dataclass(frozen=True, slots=True)
class Spec:
    """The images to bring, each once; `release` is None when only additional ones are wanted.

    `space_required_gib` is what the user wants to see free before a download starts; 0: unsaid.
    """

    release: Reference | None
    additional: tuple[Reference, ...] = ()
    space_required_gib: int = 0

    @property
    def images(self) -> tuple[Reference, ...]:
        """All images, the release first."""
        first = (self.release,) if self.release else ()
        return first + tuple(image for image in self.additional if image != self.release)


def read_spec(config: Path | None, platform_image: str, additional: tuple[str, ...]) -> Spec:
    """Read the mounted ConfigMap (None: flags only) and lay the flags over it.

    A flag replaces the release image of the ConfigMap and adds to its additional images.
    Raises AgentError (InvalidSpec) that names the key, the line and the reason.
    """
    keys = _read_keys(config) if config else {}
    for key in UNSUPPORTED:
        if keys.get(key, "").strip():
            raise invalid_spec(f"{key} is set, but this version does not support it yet")
    release = parse_lines("--platform-image", platform_image) or parse_lines(
        PLATFORM_IMAGE, keys.get(PLATFORM_IMAGE, "")
    )
    if len(release) > 1:
        raise invalid_spec(f"{PLATFORM_IMAGE} names {len(release)} images, it may name one")
    more = parse_lines(ADDITIONAL_IMAGES, keys.get(ADDITIONAL_IMAGES, ""))
    more += parse_lines("--additional-image", "\n".join(additional))
    if not release and not more:
        raise invalid_spec(f"no image to pull: neither {PLATFORM_IMAGE} nor {ADDITIONAL_IMAGES}")
    space = _gib(keys.get(SPACE_REQUIRED, "").strip())
    return Spec(release[0] if release else None, tuple(dict.fromkeys(more)), space)


def _read_keys(config: Path) -> dict[str, str]:
    """Read the known keys; a mounted ConfigMap has one file per key, an absent one is empty."""
    keys = {}
    try:
        if not config.is_dir():
            raise invalid_spec(f"{config} is not a directory with the ConfigMap's keys as files")
        for key in (PLATFORM_IMAGE, ADDITIONAL_IMAGES, SPACE_REQUIRED, *UNSUPPORTED):
            file = config / key
            keys[key] = file.read_text(encoding="utf-8") if file.exists() else ""
    except (OSError, UnicodeDecodeError) as exc:
        raise invalid_spec(f"{config} cannot be read: {exc}") from exc
    return keys


def _gib(text: str) -> int:
    """Parse a whole number of GiB, as the hub writes it ("" means unsaid)."""
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= 6):  # noqa: PLR2004 - an exbibyte
        raise invalid_spec(f"{SPACE_REQUIRED} is {text[:50]!r}, not a whole number of GiB")
    return int(text)
