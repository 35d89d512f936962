"""What to pull: the keys of the mounted ConfigMap and the flags, checked before a byte moves.

platform.image               operators.indexes               excludePrecachePatterns
additionalImages             operators.packagesAndChannels   spaceRequired
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeVar

from talm.agent.catalog.channels import Wanted
from talm.agent.content.references import Reference, parse_lines
from talm.agent.failures import invalid_spec

PLATFORM_IMAGE: Final = "platform.image"
ADDITIONAL_IMAGES: Final = "additionalImages"
INDEXES: Final = "operators.indexes"
PACKAGES: Final = "operators.packagesAndChannels"
STARTS: Final = "operators.startingCSVs"
EXCLUDES: Final = "excludePrecachePatterns"
SPACE_REQUIRED: Final = "spaceRequired"
KEYS: Final = (
    PLATFORM_IMAGE,
    ADDITIONAL_IMAGES,
    INDEXES,
    PACKAGES,
    STARTS,
    EXCLUDES,
    SPACE_REQUIRED,
)

_PLAIN: Final = re.compile(r"[A-Za-z0-9._+-]+")

T = TypeVar("T")
Parser = Callable[[str, str], Sequence[T]]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """What the command line says of what to pull; `starts` are NAME:CHANNEL:BUNDLE."""

    platform_image: str = ""
    additional: tuple[str, ...] = ()
    indexes: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    starts: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    space_required: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Spec:
    """What to bring, each once; `release` is None when only other images are wanted.

    `space_required_gib` is what the user wants to see free before a download starts; 0: unsaid.
    """

    release: Reference | None
    additional: tuple[Reference, ...] = ()
    indexes: tuple[Reference, ...] = ()
    packages: tuple[Wanted, ...] = ()
    excludes: tuple[str, ...] = ()
    space_required_gib: int = 0


def read_spec(config: Path | None, flags: Flags) -> Spec:
    """Read the mounted ConfigMap (None: flags only) and lay the flags over it.

    A flag replaces the one value of a key (release, space) and adds to a list.
    Raises AgentError (InvalidSpec) that names the key, the line and the reason.
    """
    keys = _read_keys(config) if config else dict.fromkeys(KEYS, "")
    release = parse_lines("--platform-image", flags.platform_image) or parse_lines(
        PLATFORM_IMAGE, keys[PLATFORM_IMAGE]
    )
    if len(release) > 1:
        raise invalid_spec(f"{PLATFORM_IMAGE} names {len(release)} images, it may name one")

    def both(parser: Parser[T], key: str, flag: str, values: Sequence[str]) -> tuple[T, ...]:
        found = (*parser(key, keys[key]), *parser(flag, "\n".join(values)))
        return tuple(dict.fromkeys(found))

    packages = both(_channels, PACKAGES, "--package", flags.packages)
    starts = (
        *(dataclasses.replace(one, if_there=True) for one in _starts(STARTS, keys[STARTS])),
        *_starts("--from", "\n".join(flags.starts)),
    )
    spec = Spec(
        release[0] if release else None,
        both(parse_lines, ADDITIONAL_IMAGES, "--additional-image", flags.additional),
        both(parse_lines, INDEXES, "--operator-index", flags.indexes),
        _with_starts(packages, starts),
        both(_lines, EXCLUDES, "--exclude", flags.excludes),
        _gib(flags.space_required.strip() or keys[SPACE_REQUIRED].strip()),
    )
    _check(spec)
    return spec


def _check(spec: Spec) -> None:
    """Refuse what would bring less than it seems to say."""
    if spec.indexes and not spec.packages:
        raise invalid_spec(f"{INDEXES} is set, but no {PACKAGES} (--package)")
    if spec.packages and not spec.indexes:
        raise invalid_spec(f"{PACKAGES} is set, but no {INDEXES} (--operator-index)")
    if not (spec.release or spec.additional or spec.indexes):
        raise invalid_spec(
            f"no image to pull: none of {PLATFORM_IMAGE}, {INDEXES} and {ADDITIONAL_IMAGES}"
            " (--platform-image, --operator-index, --additional-image)"
        )


def _lines(_: str, text: str) -> tuple[str, ...]:
    """Return the lines that are not blank: an empty expression would match everything."""
    return tuple(line.strip() for line in text.split("\n") if line.strip())


def _channels(source: str, text: str) -> tuple[Wanted, ...]:
    found = _fields(source, text, "NAME:CHANNEL")
    return tuple(Wanted(package, channel) for package, channel in found)


def _starts(source: str, text: str) -> tuple[Wanted, ...]:
    found = _fields(source, text, "NAME:CHANNEL:BUNDLE")
    return tuple(Wanted(package, channel, start) for package, channel, start in found)


def _fields(source: str, text: str, form: str) -> Iterator[list[str]]:
    """Split each line that is not blank at its colons.  Raises AgentError that names the line."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        fields = line.strip().split(":")
        plain = all(_PLAIN.fullmatch(field) for field in fields)
        if len(fields) != len(form.split(":")) or not plain:
            said = line.strip()[:200]
            raise invalid_spec(f"{source}, line {number}: {said!r} is not {form}")
        yield fields


def _with_starts(packages: Sequence[Wanted], starts: Sequence[Wanted]) -> tuple[Wanted, ...]:
    """Let a channel that has starts be walked from each of them, and the others be as they are."""
    walked = {(one.package, one.channel) for one in starts}
    others = [one for one in packages if (one.package, one.channel) not in walked]
    return (*others, *dict.fromkeys(starts))


def _read_keys(config: Path) -> dict[str, str]:
    """Read the known keys; a mounted ConfigMap has one file per key, an absent one is empty."""
    keys = {}
    try:
        if not config.is_dir():
            raise invalid_spec(f"{config} is not a directory with the ConfigMap's keys as files")
        for key in KEYS:
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
        raise invalid_spec(
            f"{SPACE_REQUIRED} (--space-required) is {text[:50]!r}, not a whole number of GiB"
        )
    return int(text)
