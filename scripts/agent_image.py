"""Builds the workload's image out of this machine, for tests: no base image, no registry, no root.

    python -m scripts.agent_image image.tar      an OCI archive: ctr images import, skopeo, podman load

    layer 1   this Python without its test suites; grep, chroot and ctr; the libraries of them all
    layer 2   /opt/talm: what deploy/locks/agent.lock names, as it is installed here, and talm

What is in it behaves as what deploy/Containerfile.agent builds; versions of Python and programs are this
machine's.  For this machine's architecture only.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import shutil
import ssl
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

import click

from talm.agent.settings import this_architecture
from talm.errors import SetupError
from talm.sim.images import CONFIG, INDEX, LAYER, MANIFEST, descriptor, digest_of

ROOT: Final = Path(__file__).parents[1]
NAME: Final = "registry.example.com/talm/agent:test"

_VERSION: Final = f"python{sys.version_info.major}.{sys.version_info.minor}"
_PYTHON: Final = f"usr/local/bin/{_VERSION}"
_STDLIB: Final = f"usr/local/lib/{_VERSION}"
_PACKAGES: Final = f"opt/talm/lib/{_VERSION}/site-packages"
# fmt: off
_LEFT_OUT: Final = frozenset((
    "__pycache__", "dist-packages", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "site-packages",
    "test", "tests", "tkinter", "turtledemo",
))
# fmt: on
_EXTENSION_LEFT_OUT: Final = re.compile(r"_tkinter|_test|_ctypes_test|xxlimited|config-")
_LIBRARY: Final = re.compile(r"(?:=>\s)?(/\S+) \(0x")
_SYSTEM: Final = ("/lib", "/usr/lib")  # where the loader looks without being told
_REQUIRED: Final = ("grep", "chroot")
_WHERE_INSTALLED: Final = ("ctr",)  # only the store of containerd asks for it
_TALM: Final = f"""#!/{_PYTHON}
import sys
sys.path.insert(0, "/{_PACKAGES}")
from talm.cli.main import main
sys.exit(main())
"""
_ETC: Final = {
    "etc/nsswitch.conf": b"hosts: files dns\n",
    "etc/passwd": b"root:x:0:0:root:/root:/usr/sbin/nologin\n",
    "etc/group": b"root:x:0:\n",
}


@dataclass(frozen=True, slots=True)
class Built:
    """The image's digest, and its size as a registry would serve it and unpacked, in bytes."""

    digest: str
    compressed: int
    unpacked: int


class Layer:
    """A tar without anything that varies: owners, times, order of files."""

    def __init__(self) -> None:
        self._members: dict[str, tuple[tarfile.TarInfo, Path | bytes]] = {}

    def add(self, path: str, content: Path | bytes, mode: int = 0o644) -> None:
        """Add a file; the first one of a path stays."""
        entry = tarfile.TarInfo(path)
        entry.mode = mode
        entry.size = len(content) if isinstance(content, bytes) else content.stat().st_size
        self._members.setdefault(path, (entry, content))

    def directory(self, path: str, mode: int) -> None:
        """Add an empty directory."""
        entry = tarfile.TarInfo(path)
        entry.type = tarfile.DIRTYPE
        entry.mode = mode
        self._members[path] = (entry, b"")

    def tar(self) -> bytes:
        """Pack it."""
        target = io.BytesIO()
        with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as packed:
            for _, (entry, content) in sorted(self._members.items()):
                if isinstance(content, bytes):
                    packed.addfile(entry, io.BytesIO(content))
                else:
                    with content.open("rb") as file:
                        packed.addfile(entry, file)
        return target.getvalue()


def build(target: Path, name: str = NAME) -> Built:
    """Write the image as an OCI archive.  Raises SetupError when this machine lacks a part of it."""
    tars = [_runtime().tar(), _application().tar()]
    layers = [gzip.compress(tar, compresslevel=6, mtime=0) for tar in tars]
    config = _json(
        {
            "architecture": this_architecture(),
            "os": "linux",
            "config": {
                "Entrypoint": ["talm", "agent"],
                "Env": [
                    "PATH=/opt/talm/bin:/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin",
                    "PYTHONDONTWRITEBYTECODE=1",
                    "PYTHONUNBUFFERED=1",
                ],
                "WorkingDir": "/",
            },
            "rootfs": {"type": "layers", "diff_ids": [digest_of(tar) for tar in tars]},
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(CONFIG, config),
            "layers": [descriptor(LAYER, layer) for layer in layers],
        }
    )
    _write(target, name, manifest, [config, *layers])
    return Built(digest_of(manifest), len(config) + sum(map(len, layers)), sum(map(len, tars)))


def _write(target: Path, name: str, manifest: bytes, blobs: Iterable[bytes]) -> None:
    annotations = {
        "org.opencontainers.image.ref.name": name,
        "io.containerd.image.name": name,
    }
    index = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [descriptor(MANIFEST, manifest) | {"annotations": annotations}],
    }
    archive = Layer()
    archive.add("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
    archive.add("index.json", _json(index))
    for blob in (manifest, *blobs):
        archive.add(f"blobs/{digest_of(blob).replace(':', '/')}", blob)
    target.write_bytes(archive.tar())


def _runtime() -> Layer:
    """Python, the programs, and every library that the loader finds for either."""
    layer = Layer()
    layer.directory("tmp", 0o1777)
    layer.directory("root", 0o700)
    for path, content in _ETC.items():
        layer.add(path, content)
    certificates = ssl.get_default_verify_paths()
    bundle = Path("/etc/ssl/certs/ca-certificates.crt")
    if bundle.is_file():
        layer.add(certificates.openssl_cafile.lstrip("/"), bundle)
    python = Path(sys.executable).resolve()
    layer.add(_PYTHON, python, 0o755)
    binaries = [python]
    for program in _programs():
        layer.add(str(program).lstrip("/"), program.resolve(), 0o755)
        binaries.append(program)
    for source, path in _stdlib():
        layer.add(path, source)
        if source.suffix == ".so":
            binaries.append(source)
    binaries += [source for source, _ in _installed() if ".so" in source.suffixes]
    for library in _libraries(binaries):
        known = str(library).startswith(_SYSTEM)
        path = str(library).lstrip("/") if known else f"usr/lib/{library.name}"
        layer.add(path, library.resolve(), 0o755)
    return layer


def _programs() -> Iterator[Path]:
    for name in (*_REQUIRED, *_WHERE_INSTALLED):
        found = shutil.which(name)
        if found:
            yield Path(found)
        elif name in _REQUIRED:
            raise SetupError(f"{name} is not on PATH: it is a part of the workload's image")


def _stdlib() -> Iterator[tuple[Path, str]]:
    home = Path(sysconfig.get_path("stdlib"))
    for source in home.rglob("*"):
        parts = source.relative_to(home).parts
        left_out = _LEFT_OUT.intersection(parts) or any(map(_EXTENSION_LEFT_OUT.match, parts))
        if source.is_file() and not left_out:
            yield source, "/".join((_STDLIB, *parts))


def _application() -> Layer:
    layer = Layer()
    layer.add("opt/talm/bin/talm", _TALM.encode(), 0o755)
    for source, path in _installed():
        layer.add(path, source)
    for source in (ROOT / "src/talm").rglob("*"):
        if source.is_file() and "__pycache__" not in source.parts:
            layer.add(f"{_PACKAGES}/{source.relative_to(ROOT / 'src')}", source)
    return layer


def _installed() -> Iterator[tuple[Path, str]]:
    """The files of what the image's lock names; raises SetupError for another version or none."""
    lock = (ROOT / "deploy/locks/agent.lock").read_text(encoding="utf-8")
    for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", lock, re.MULTILINE):
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError as exc:
            raise SetupError(f"{name} is not installed here: run this in .venv") from exc
        if found.version != version:
            raise SetupError(f"{name} {found.version} is installed, the lock says {version}")
        for file in found.files or ():
            source = Path(str(file.locate()))
            if ".." not in file.parts and file.suffix != ".pyc" and source.is_file():
                yield source, f"{_PACKAGES}/{file.as_posix()}"


def _libraries(binaries: Iterable[Path]) -> set[Path]:
    """Ask the loader; libraries that a wheel brings along are there already."""
    try:
        said = subprocess.run(  # noqa: S603
            ["ldd", *map(str, binaries)],  # noqa: S607
            capture_output=True,
            text=True,
            check=False,
        ).stdout
    except OSError as exc:
        raise SetupError(f"ldd cannot be started: {exc.strerror}") from exc
    if "not found" in said:
        missing = re.findall(r"(\S+) => not found", said)
        raise SetupError(f"this machine lacks libraries: {', '.join(sorted(set(missing)))}")
    return {Path(path) for path in _LIBRARY.findall(said) if "site-packages" not in path}


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


@click.command()
@click.argument("target", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--name", default=NAME, show_default=True, help="What the image is called.")
def main(target: Path, name: str) -> None:
    """Write the workload's image, made out of this machine, to TARGET as an OCI archive."""
    try:
        built = build(target, name)
    except SetupError as exc:
        raise click.ClickException(str(exc)) from exc
    click.echo(f"{target}: {name}")
    click.echo(f"{built.digest}, linux/{this_architecture()}")
    click.echo(
        f"{built.compressed / 2**20:.1f} MiB compressed, {built.unpacked / 2**20:.1f} unpacked"
    )


if __name__ == "__main__":
    main()
