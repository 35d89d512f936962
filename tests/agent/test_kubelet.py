from __future__ import annotations

import json
from pathlib import Path

import pytest

from talm.agent.kubelet import CONFIG_FILES, kubelet_rules, parse_limit, rules_of
from talm.agent.space import NO_KUBELET, Limit, Rules

KIND = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"


@pytest.fixture(autouse=True)
def not_in_a_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)


def write(root: Path, name: str, text: str) -> Path:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


FILES = [file for file, _ in CONFIG_FILES if file]
DIRECTORIES = [directory for _, directory in CONFIG_FILES]


@pytest.mark.parametrize("name", FILES)
def test_the_kubelets_file_is_found_where_distributions_put_it(tmp_path: Path, name: str) -> None:
    body = {"kind": "KubeletConfiguration", "imageGCHighThresholdPercent": 70}
    file = write(tmp_path, name, json.dumps(body))
    assert kubelet_rules(tmp_path).gc_high_percent == 70
    assert kubelet_rules(tmp_path).source == str(file)


@pytest.mark.parametrize("indent", [None, 2, "\t"])
def test_the_kubelets_file_may_be_json_however_indented(
    tmp_path: Path, indent: int | str | None
) -> None:
    body = {"kind": "KubeletConfiguration", "evictionHard": {"nodefs.available": "7%"}}
    write(tmp_path, FILES[0], json.dumps(body, indent=indent))
    assert kubelet_rules(tmp_path).nodefs == Limit(0.07)


@pytest.mark.parametrize("place", DIRECTORIES)
def test_files_of_a_directory_are_laid_over_each_other(tmp_path: Path, place: str) -> None:
    write(tmp_path, f"{place}/00-defaults.conf", f"{KIND}imageGCHighThresholdPercent: 70")
    write(tmp_path, f"{place}/10-ours.conf", f"{KIND}imageGCHighThresholdPercent: 75")
    write(tmp_path, f"{place}/20-note.txt", f"{KIND}imageGCHighThresholdPercent: 80")
    write(tmp_path, f"{place}/30-kubeconfig.conf", "kind: Config\nimageGCHighThresholdPercent: 80")
    assert kubelet_rules(tmp_path).gc_high_percent == 75
    assert kubelet_rules(tmp_path).source == str(tmp_path / place)


@pytest.mark.parametrize(("file", "directory"), [pair for pair in CONFIG_FILES if pair[0]])
def test_drop_ins_change_the_file_key_by_key_as_the_kubelet_merges_them(
    tmp_path: Path, file: str, directory: str
) -> None:
    hard = "evictionHard: {nodefs.available: 5%, imagefs.available: 6%, nodefs.inodesFree: 7%}"
    write(tmp_path, file, f"{KIND}imageGCHighThresholdPercent: 70\n{hard}\n")
    patch = "evictionHard: {imagefs.available: 20Gi, nodefs.inodesFree: null}"
    write(tmp_path, f"{directory}/99-site.conf", f"{KIND}{patch}")
    assert kubelet_rules(tmp_path) == Rules(
        70, Limit(0.05), Limit(), Limit(amount=20 << 30), Limit(), str(tmp_path / file)
    )


def test_a_kubeconfig_of_the_same_name_is_not_taken_for_it(tmp_path: Path) -> None:
    write(tmp_path, FILES[0], "kind: Config\nclusters: []\n")
    write(tmp_path, FILES[1], f"{KIND}imageGCHighThresholdPercent: 80")
    assert kubelet_rules(tmp_path).gc_high_percent == 80


@pytest.mark.parametrize("text", ["{", "kind: Config", "", "- a", "\x00"])
def test_a_kubelet_without_a_file_has_its_defaults(tmp_path: Path, text: str) -> None:
    file = write(tmp_path, FILES[1], text)
    assert kubelet_rules(tmp_path) == Rules()
    assert kubelet_rules(tmp_path, file) == Rules()


def test_in_a_pod_there_is_a_kubelet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kubelet_rules(tmp_path) == NO_KUBELET
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert kubelet_rules(tmp_path) == Rules()


def test_a_list_of_hard_limits_replaces_the_default_one() -> None:
    config = {"evictionHard": {"imagefs.available": "5%"}, "imageGCHighThresholdPercent": 95}
    rules = rules_of(config, "file")
    assert (rules.imagefs, rules.nodefs, rules.gc_high_percent) == (Limit(0.05), Limit(), 95)
    rules = rules_of(config | {"mergeDefaultEvictionSettings": True}, "file")
    assert (rules.imagefs, rules.nodefs) == (Limit(0.05), Limit(0.10))
    assert rules_of({}, Rules().source) == Rules()


def test_a_soft_limit_counts_beside_the_hard_one() -> None:
    soft = {"evictionSoft": {"nodefs.available": "10Gi"}}
    assert rules_of(soft, "file").nodefs == Limit(0.10, 10 << 30)


@pytest.mark.parametrize("percent", [-1, 101, "90", None])
def test_a_threshold_that_is_none_is_the_default(percent: object) -> None:
    assert rules_of({"imageGCHighThresholdPercent": percent}, "file").gc_high_percent == 85


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("15%", Limit(0.15)),
        ("7.5%", Limit(0.075)),
        ("100Mi", Limit(amount=100 << 20)),
        ("1.5Gi", Limit(amount=3 << 29)),
        ("4Ki", Limit(amount=4096)),
        ("2k", Limit(amount=2000)),
        ("500M", Limit(amount=500_000_000)),
        ("1e9", Limit(amount=1_000_000_000)),
        (1024, Limit(amount=1024)),
        ("much", Limit()),
        ("-5%", Limit()),
        (None, Limit()),
    ],
)
def test_limits_are_shares_or_quantities(text: object, limit: Limit) -> None:
    assert parse_limit(text) == limit


@pytest.mark.parametrize("wrong", [[], "10%", 5, None])
def test_limits_that_are_no_map_are_as_good_as_none(wrong: object) -> None:
    assert rules_of({"evictionHard": wrong, "evictionSoft": wrong}, Rules().source) == Rules()
