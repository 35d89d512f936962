"""What `deploy/` says, read as text: least privilege, one list of files, settings that exist."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from talm.api import kinds
from talm.api.kinds import Kind
from talm.api.words import Action, View
from talm.hub.settings import Settings

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
FILES = sorted(DEPLOY.rglob("*.yaml"))
KINDS = {(k.group, k.plural) for k in vars(kinds).values() if isinstance(k, Kind)}


def documents(path: Path) -> list[dict[str, Any]]:
    return [made for made in yaml.safe_load_all(path.read_text()) if made]


OBJECTS = [made for path in FILES for made in documents(path)]
RULES = [
    (made["metadata"]["name"], rule)
    for made in OBJECTS
    if made["kind"] in {"Role", "ClusterRole"}
    for rule in made["rules"]
]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(DEPLOY)))
def test_every_file_holds_objects(path: Path) -> None:
    assert documents(path)
    for made in documents(path):
        assert made["apiVersion"] and made["kind"]


def test_the_kustomization_names_every_manifest() -> None:
    (kustomization,) = documents(DEPLOY / "kustomization.yaml")
    there = {
        str(path.relative_to(DEPLOY))
        for folder in ("crds", "hub", "rbac")
        for path in (DEPLOY / folder).glob("*.yaml")
    }
    assert set(kustomization["resources"]) == there


@pytest.mark.parametrize(("role", "rule"), RULES)
def test_a_rule_names_what_it_allows(role: str, rule: dict[str, Any]) -> None:
    assert set(rule) <= {"apiGroups", "resources", "resourceNames", "verbs"}
    assert not [word for words in rule.values() for word in words if "*" in word]
    assert not {"escalate", "bind", "impersonate"} & set(rule["verbs"])
    for group in rule["apiGroups"]:
        for resource in rule["resources"]:
            # The API server knows lower-case plurals alone; anything else grants nothing.
            assert (group, resource.partition("/")[0]) in KINDS
    assert ("", "secrets") not in {(g, r) for g in rule["apiGroups"] for r in rule["resources"]}


@pytest.mark.parametrize("path", sorted((DEPLOY / "rbac").glob("*.yaml")), ids=lambda p: p.name)
def test_every_rule_says_why_it_is_there(path: Path) -> None:
    lines = path.read_text().splitlines()
    rules = [i for i, line in enumerate(lines) if line.startswith("  - apiGroups:")]
    assert rules
    for i in rules:
        assert lines[i - 1].startswith("  # "), lines[i : i + 3]


def test_whoever_follows_progress_reads_every_view_and_action_of_ours_and_no_other() -> None:
    (role,) = (m for m in OBJECTS if m.get("metadata", {}).get("name") == "talm-progress-viewer")
    names = {rule["resources"][0]: rule.get("resourceNames", ()) for rule in role["rules"]}
    assert tuple(names["managedclusterviews"]) == tuple(View)
    assert tuple(names["managedclusteractions"]) == tuple(Action)


def test_rights_on_the_fleet_do_not_come_with_rights_in_a_namespace() -> None:
    for made in OBJECTS:
        labels = made.get("metadata", {}).get("labels", {})
        assert not [label for label in labels if "aggregate-to" in label]


def test_the_deployment_sets_only_settings_that_there_are() -> None:
    (kustomization,) = documents(DEPLOY / "kustomization.yaml")
    (deployment,) = documents(DEPLOY / "hub/deployment.yaml")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    (generator,) = kustomization["configMapGenerator"]
    given = dict(literal.split("=", 1) for literal in generator["literals"])
    named = [*given, *(env["name"] for env in container["env"])]
    known = {f"TALM_{field.name.upper()}" for field in dataclasses.fields(Settings)}
    assert set(named) <= known

    assert container["envFrom"] == [{"configMapRef": {"name": generator["name"]}}]
    (port,) = container["ports"]
    assert given["TALM_BIND_ADDRESS"].rpartition(":")[2] == str(port["containerPort"])
    assert container["image"] == kustomization["images"][0]["name"]


def test_the_sample_is_the_manuals_yaml() -> None:
    name = "clustergroupupgrades-group-du.yaml"
    assert (DEPLOY / "samples" / name).read_bytes() == (ROOT / "tests/data" / name).read_bytes()


def pins(path: Path) -> dict[str, tuple[str, frozenset[str]]]:
    """Version and hashes of each package in a lock file."""
    found: dict[str, tuple[str, frozenset[str]]] = {}
    for entry in re.split(r"\n(?=\S)", path.read_text()):
        head = re.match(r"([\w.-]+)==([^\s;]+)", entry)
        if head:
            found[head[1]] = (head[2], frozenset(re.findall(r"sha256:\w{64}", entry)))
    return found


@pytest.mark.parametrize("image", ["hub", "agent"])
def test_an_image_installs_what_the_tests_ran_with(image: str) -> None:
    tested = pins(ROOT / "requirements.lock")
    locked = pins(DEPLOY / f"locks/{image}.lock")
    assert {"aiohttp", "msgspec", "click"} <= locked.keys()
    assert locked.items() <= tested.items()
    assert ("prometheus-client" in locked) == (image == "hub")
    assert all(hashes for _, hashes in locked.values())


@pytest.mark.parametrize("image", ["hub", "agent"])
def test_an_image_is_built_from_a_base_that_can_be_replaced(image: str) -> None:
    text = (DEPLOY / f"Containerfile.{image}").read_text()
    assert re.findall(r"^FROM (\S+)", text, re.MULTILINE) == ["${PYTHON_IMAGE}"] * 2
    assert re.findall(r"^ARG (\S+)", text, re.MULTILINE) == ["PYTHON_IMAGE=python:3.13-slim"]
    assert "--require-hashes" in text and f"locks/{image}.lock" in text
    assert not re.findall(r"https?://|index-url", text)
    for source in re.findall(r"^COPY ((?!--from).+) \S+$", text, re.MULTILINE):
        assert all((ROOT / part).exists() for part in source.split())


def test_the_operator_does_not_run_as_root() -> None:
    assert re.search(r"^USER [1-9]\d*:", (DEPLOY / "Containerfile.hub").read_text(), re.MULTILINE)
    (deployment,) = documents(DEPLOY / "hub/deployment.yaml")
    assert deployment["spec"]["template"]["spec"]["securityContext"]["runAsNonRoot"] is True
