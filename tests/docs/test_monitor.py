"""Rules and questions of the page on monitoring ask for what is scraped: names, labels, values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from talm.api.words import Phase
from talm.hub.metricnames import CATALOG, OF_STATUSES, About

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "howto" / "monitor.md"
BY_NAME = {about.name: about for about in CATALOG}
SELECTED = re.compile(r"(talm_\w+)(?:\{([^}]*)\})?(\[\w+\])?")
MATCHER = re.compile(r'(\w+)(?:=~|!~|!=|=)"([^"]*)"')
GROUPED = re.compile(r"\bby \(([^)]*)\)")
PARTS = ("_bucket", "_count", "_sum")


def manifests() -> dict[str, Any]:
    blocks = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    found = [yaml.safe_load(block) for block in blocks]
    return {body["kind"]: body for body in found}


def alerts() -> Iterator[tuple[str, str]]:
    for group in manifests()["PrometheusRule"]["spec"]["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


def questions() -> Iterator[tuple[str, str]]:
    for line in PAGE.read_text().splitlines():
        if found := re.fullmatch(r"\| (.+\?) \| `(.+)` \|", line):
            yield found[1], found[2]


ALERTS = dict(alerts())
QUESTIONS = dict(questions())


def metric(name: str) -> About:
    """The metric that a series is of."""
    for part in PARTS:
        stem = name.removesuffix(part)
        if stem in BY_NAME and BY_NAME[stem].type == "histogram" and stem != name:
            return BY_NAME[stem]
    assert name in BY_NAME, f"{name} is not scraped"
    return BY_NAME[name]


def test_the_monitor_finds_the_service_that_is_deployed() -> None:
    service = yaml.safe_load((ROOT / "deploy" / "hub" / "service.yaml").read_text())
    monitor = manifests()["ServiceMonitor"]
    wanted = monitor["spec"]["selector"]["matchLabels"]
    assert wanted.items() <= service["metadata"]["labels"].items()
    assert monitor["metadata"]["namespace"] == service["metadata"]["namespace"]
    ports = {port["name"] for port in service["spec"]["ports"]}
    assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= ports


def test_the_page_has_rules_and_questions() -> None:
    assert len(ALERTS) >= 3
    assert len(QUESTIONS) >= 3


@pytest.mark.parametrize("promql", [*ALERTS.values(), *QUESTIONS.values()])
def test_a_query_asks_for_metrics_labels_and_states_that_there_are(promql: str) -> None:
    found = SELECTED.findall(promql)
    assert found
    for name, matchers, span in found:
        about = metric(name)
        for label, value in MATCHER.findall(matchers):
            assert label in about.labels
            if about.labels == ("state",) and name.startswith("talm_precache"):
                assert value in set(Phase)
        assert bool(span) == (about.type != "gauge"), (
            f"{name}: rates are of counters, and only of them"
        )
        labels = {"le"} if name.endswith("_bucket") else set[str]()
        for grouped in GROUPED.findall(promql):
            assert set(re.split(r",\s*", grouped)) <= labels | set(about.labels)


@pytest.mark.parametrize("promql", [*ALERTS.values(), *QUESTIONS.values()])
def test_what_every_replica_tells_is_not_added_up(promql: str) -> None:
    for about in OF_STATUSES:
        for before in re.findall(rf"(\w+)(?: by \(\w+\) )?\({about.name}\b", promql):
            assert before == "max"
