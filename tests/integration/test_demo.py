"""The demo when something goes wrong: on purpose, or because somebody has had enough."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from tests.integration.demoprocess import Demo

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

ACTIVE = "cnfdb1  PrecacheActive"


def missed(output: str) -> set[str]:
    """What the demo says does not hold."""
    return set(re.findall(r"^  ✗ (.*?)  — seen: .+$", output, re.MULTILINE))


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        (signal.SIGINT, "hub: ready"),
        pytest.param(signal.SIGTERM, ACTIVE, marks=pytest.mark.long),
        pytest.param(signal.SIGKILL, ACTIVE, marks=pytest.mark.long),
    ],
)
def test_whoever_ends_it_leaves_no_process(
    tmp_path: Path, number: signal.Signals, moment: str
) -> None:
    demo = Demo(tmp_path)
    demo.wait_for(moment)
    assert demo.interrupt(number) == (-number if number is signal.SIGKILL else 130)
    assert demo.processes_left() == []
    if number is not signal.SIGKILL:
        assert demo.output.rstrip().endswith("Ended; nothing is left running.")
        assert demo.files_left() == []


@pytest.mark.long
def test_it_can_be_kept_and_looked_at(tmp_path: Path) -> None:
    demo = Demo(tmp_path, "--keep")
    demo.wait_for("Ctrl-C ends it")
    kubeconfigs = re.findall(r"^export KUBECONFIG=(\S+)", demo.output, re.MULTILINE)
    assert len(kubeconfigs) == 3 and all(Path(k).exists() for k in kubeconfigs)
    assert any("kube-apiserver" in words for words in demo.processes())
    logs = re.findall(r"^agents of \S+:\s+(\S+)/\*\.log", demo.output, re.MULTILINE)
    told = ["".join(log.read_text() for log in Path(place).glob("*.log")) for place in logs]
    assert len(told) == 2 and all("now=Succeeded" in words for words in told)
    assert any("attempt 1: " in words for words in told), "the killed one's successor says so"
    assert demo.interrupt(signal.SIGINT) == 0
    assert demo.processes_left() == []
    assert demo.files_left() == []


@pytest.mark.long
def test_a_registry_without_the_release_fails_pre_caching(tmp_path: Path) -> None:
    demo = Demo(tmp_path, "--break", "registry")
    assert demo.wait() == 1, demo.output
    assert "PrecacheUnrecoverableError" in demo.output
    assert "ImageNotFound" in demo.output and "404" in demo.output
    assert missed(demo.output) >= {
        "every cluster went through every state, each stored before the next",
        "the manifest that each spoke has stored hashes to the policy's digest",
        "the update is complete",
        "pre-caching is completed",
    }
    assert "the CGU exists" not in missed(demo.output)
    assert demo.processes_left() == []
    left = demo.files_left()
    assert "operator.log" in left and all(name.endswith(".log") for name in left)


@pytest.mark.long
@pytest.mark.parametrize(
    ("broken", "line"),
    [
        ("policy", "what is to be pre-cached is well formed"),
        ("agent", "cnfdb1 is Active"),
        ("layout", "the manifest that each spoke has stored hashes to the policy's digest"),
    ],
)
def test_each_break_is_noticed(tmp_path: Path, broken: str, line: str) -> None:
    demo = Demo(tmp_path, "--break", broken)
    assert demo.wait() == 1, demo.output
    assert line in missed(demo.output)
    assert demo.processes_left() == []


@pytest.mark.long
def test_more_clusters_than_control_planes(tmp_path: Path) -> None:
    demo = Demo(tmp_path, "--clusters", "7")
    assert demo.wait() == 0, demo.output
    assert "cnfdb7  PrecacheSucceeded  update complete" in demo.output
    assert "cnfdb7 has stored" not in demo.output
