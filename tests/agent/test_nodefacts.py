from __future__ import annotations

import json
from pathlib import Path

import pytest

from talm.agent.nodefacts import CONFIG_FILES, Room, kubelet_rules, measure, parse_limit, rules_of
from talm.agent.settings import Settings
from talm.agent.space import NO_KUBELET, Limit, Role, Rules

KIND = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"


@pytest.fixture(autouse=True)
def not_in_a_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)


def write(root: Path, name: str, text: str) -> Path:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_places_on_one_file_system_are_one(tmp_path: Path) -> None:
    places = {Role.IMAGES: tmp_path / "not" / "there", Role.SPOOL: tmp_path}
    (found,) = measure(places)
    assert found.roles == {Role.IMAGES, Role.SPOOL}
    assert found.place == str(tmp_path)
    assert 0 < found.free <= found.size


def test_places_on_two_file_systems_are_two(tmp_path: Path) -> None:
    found = measure({Role.IMAGES: tmp_path, Role.SPOOL: Path("/proc")})
    assert [system.roles for system in found] == [{Role.IMAGES}, {Role.SPOOL}]


@pytest.mark.parametrize("name", CONFIG_FILES[:3])
def test_the_kubelets_file_is_found_where_distributions_put_it(tmp_path: Path, name: str) -> None:
    body = {"kind": "KubeletConfiguration", "imageGCHighThresholdPercent": 70}
    file = write(tmp_path, name, json.dumps(body))
    assert kubelet_rules(tmp_path).gc_high_percent == 70
    assert kubelet_rules(tmp_path).source == str(file)


def test_files_of_a_directory_are_laid_over_each_other(tmp_path: Path) -> None:
    place = CONFIG_FILES[3]
    write(tmp_path, f"{place}/00-defaults.conf", f"{KIND}imageGCHighThresholdPercent: 70")
    write(tmp_path, f"{place}/10-ours.conf", f"{KIND}imageGCHighThresholdPercent: 75")
    write(tmp_path, f"{place}/note.txt", "not a configuration")
    assert kubelet_rules(tmp_path).gc_high_percent == 75


def test_a_kubeconfig_of_the_same_name_is_not_taken_for_it(tmp_path: Path) -> None:
    write(tmp_path, CONFIG_FILES[0], "kind: Config\nclusters: []\n")
    write(tmp_path, CONFIG_FILES[1], f"{KIND}imageGCHighThresholdPercent: 80")
    assert kubelet_rules(tmp_path).gc_high_percent == 80


@pytest.mark.parametrize("text", ["{", "kind: Config", ""])
def test_a_kubelet_without_a_file_has_its_defaults(tmp_path: Path, text: str) -> None:
    file = write(tmp_path, CONFIG_FILES[1], text)
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


def test_the_kubelets_own_file_system_is_looked_at_where_it_is_mounted(tmp_path: Path) -> None:
    settings = Settings(host_root=tmp_path, store=f"oci-layout:{tmp_path}/images")
    limits = f"{KIND}evictionHard: {{nodefs.available: '100%'}}\nimageGCHighThresholdPercent: 100"
    write(tmp_path, CONFIG_FILES[0], limits)
    assert Room(settings, tmp_path).warnings() == ()
    (tmp_path / "var/lib/kubelet").mkdir(parents=True)
    (said,) = Room(settings, tmp_path).warnings()
    assert "image store and spool and kubelet" in said
