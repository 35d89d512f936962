"""Building the control plane: from which Go, when again, and what is said when it cannot be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from controlplane import build, definitions, toolchain

ROOT = Path(__file__).parents[2]
# Behaves like the parts of `go` that a build uses, and keeps a diary of its calls.
FAKE_GO = """\
#!/bin/sh
echo "$1" >>"$(dirname "$0")/diary"
case $1 in
  env) printf '%s\\nlinux\\namd64\\n' "$(cat "$(dirname "$0")/version")" ;;
  list) echo one/package; echo two/package ;;
  build)
    [ -e "$(dirname "$0")/broken" ] && { echo "main.go:1: does not compile"; exit 1; }
    echo one/package
    while [ "$1" != -o ]; do shift; done
    case $2 in
      */) directory=$2; shift 2; for package; do echo "$package" >"$directory${package##*/}"; done ;;
      *) echo program >"$2" ;;
    esac ;;
esac
"""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALM_CACHE", str(tmp_path / "cache"))
    for name in ("KUBECONFIG", "KUBEBUILDER_ASSETS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of a fake Go that is first on PATH."""
    directory = tmp_path / "go"
    directory.mkdir()
    (directory / "go").write_text(FAKE_GO)
    (directory / "go").chmod(0o755)
    (directory / "version").write_text("go1.30.0")
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
    return directory


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with one Go module, `tool`, in the place of controlplane/."""
    module = tmp_path / "sources" / "tool"
    module.mkdir(parents=True)
    (module / "go.mod").write_text("module tool\n\ngo 1.24.0\n")
    (module / "main.go").write_text("package main\n")
    for where in (build, toolchain):
        monkeypatch.setattr(where, "HERE", module.parent)
    return module


def builds(go: Path) -> int:
    return (go / "diary").read_text().split().count("build")


def test_a_module_is_built_once_and_again_when_an_input_changes(go: Path, sources: Path) -> None:
    assert build.main(["tool"]) == 0
    current = build.cache_directory() / "current" / "tool"
    first = current.readlink()
    assert current.read_text() == "program\n"
    assert build.main(["tool"]) == 0
    assert builds(go) == 1
    (sources / "main.go").write_text("package main // changed\n")
    assert build.main(["tool"]) == 0
    (go / "version").write_text("go1.30.1")
    assert build.main(["tool"]) == 0
    assert builds(go) == 3
    assert current.readlink() != first
    assert first.exists()  # a program that runs from there goes on


def test_a_module_that_pins_programs_of_others_leaves_each_by_its_name(
    go: Path, sources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "PROGRAMS", {"tool": ("example.io/one", "example.io/two")})
    assert build.main(["tool"]) == 0
    current = build.cache_directory() / "current"
    assert {link.name: link.read_text() for link in current.iterdir()} == {
        "one": "example.io/one\n",
        "two": "example.io/two\n",
    }
    monkeypatch.setattr(build, "PROGRAMS", {"tool": ("example.io/one",)})
    assert build.main(["tool"]) == 0
    assert builds(go) == 2, "another program is another result"


def test_two_builds_at_once_build_once(go: Path) -> None:
    command = [sys.executable, "-m", "controlplane.build", "action-gc"]
    both = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    for process in both:
        assert process.stdout is not None
        process.stdout.close()
    assert builds(go) == 1


def test_a_failed_build_shows_the_compiler_and_leaves_nothing(
    go: Path, sources: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (go / "broken").touch()
    assert build.main(["tool"]) == 1
    assert "main.go:1: does not compile" in capsys.readouterr().err
    cache = build.cache_directory()
    assert not list(cache.glob("bin/*")) + list(cache.glob("current/*")) + list(cache.glob(".new*"))


@pytest.mark.parametrize("found", ["go1.23.9", "none"])
def test_without_go_and_network_the_other_ways_are_named(
    go: Path, found: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (go / "version").write_text(found)
    # Nothing listens on port 1, and nothing is found without asking there.
    for name in ("PIP_INDEX_URL", "UV_INDEX_URL", "UV_DEFAULT_INDEX"):
        monkeypatch.setenv(name, "http://127.0.0.1:1/simple")
    monkeypatch.setenv("UV_NO_CACHE", "1")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("PIP_RETRIES", "0")
    for name in ("PIP_FIND_LINKS", "UV_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    assert build.main(["kubernetes"]) == 1
    said = capsys.readouterr()
    assert "is not on PATH" in said.out
    assert "could not install Go" in said.err
    assert "KUBECONFIG" in said.err
    assert "KUBEBUILDER_ASSETS" in said.err
    monkeypatch.setenv("KUBECONFIG", "/some/file")
    assert build.main(["registry"]) == 0  # another way was chosen: what needs this is skipped


def test_kubebuilder_assets_take_the_place_of_our_build(
    go: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    assert build.main(["kubernetes"]) == 0
    assert "build" not in (go / "diary").read_text().split()


def test_an_unknown_module_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert build.main(["nonsense"]) == 2
    assert "nonsense" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text, version",
    [("go1.26.8", (1, 26, 8)), ("go 1.21", (1, 21, 0)), ("devel go1.27-abc", (1, 27, 0)), ("", ())],
)
def test_versions_compare_as_numbers(text: str, version: tuple[int, ...]) -> None:
    assert toolchain.parse_version(text) == (version or (0, 0, 0))


def test_every_committed_module_builds_with_the_pinned_toolchain() -> None:
    modules = [path.parent.name for path in toolchain.HERE.glob("*/go.mod")]
    pinned = toolchain.parse_version((toolchain.HERE / "go-toolchain.txt").read_text())
    assert toolchain.needed_version(modules) <= pinned


def test_the_output_of_go_mod_download_is_read_object_by_object() -> None:
    text = "".join(json.dumps({"Path": path}, indent=1) + "\n" for path in ("a", "b"))
    assert [entry["Path"] for entry in definitions.json_stream(text)] == ["a", "b"]
