"""The documents for programs: complete, with names that stay."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from talm.api.progress import ProgressRecord
from talm.api.words import Phase
from talm.cli.documents import as_text, cgu_document, record_document
from talm.cli.explain import whole
from talm.cli.looking import Look
from talm.cli.main import EXIT_CODES
from talm.cli.rows import NOTHING_TOLD, Rank, cgu_row
from talm.core.explain import Situation
from talm.core.model import Rules, Snapshot
from tests.cli.fleets import NOW, SMALL, SMALL_TOLD, large, summed
from tests.cli.golden import assert_golden

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def test_json_and_yaml_say_the_same_and_everything() -> None:
    row = cgu_row(SMALL, SMALL_TOLD, {}, NOW)
    document = cgu_document(row, clusters=True)
    text = as_text(document, "json")
    assert_golden("status-small-json", text.splitlines())
    assert json.loads(text) == yaml.safe_load(as_text(document, "yaml"))
    by_name = {c["cluster"]: c for c in document["clusterList"]}
    assert by_name["spoke-0003"]["progress"]["bytesDone"] == 1_229 * 2**20
    assert by_name["spoke-0010"]["unknown"] == NOTHING_TOLD
    assert by_name["spoke-0004"]["progress"]["imagesDone"] == 0


def test_the_sums_of_the_status_are_shown_with_what_else_it_says_of_all_clusters() -> None:
    document = cgu_document(cgu_row(summed(SMALL), {}, {}, NOW), clusters=False)
    assert document["progress"] == {
        "clusters": 4,
        "imagesDone": 207,
        "imagesTotal": 549,
        "bytesDone": 26 * 2**30,
        "bytesTotal": 48 * 2**30,
        "bytesPerS": 4 * 2**20,
        "etaS": 600,
        "withoutEstimate": 2,
        "finished": {
            "clusters": 1,
            "imagesDone": 183,
            "imagesTotal": 183,
            "bytesDone": 16 * 2**30,
            "bytesTotal": 16 * 2**30,
        },
        "updatedAt": "2026-01-02T03:29:57Z",
    }
    assert document["failuresByClass"] == {"ImageNotFound": 1}
    assert (document["specHash"], document["attempt"]) == ("0123456789abcdef", 2)


def test_without_clusters_a_fleet_of_thousands_is_a_few_lines() -> None:
    cgu, told = large()
    document = cgu_document(cgu_row(cgu, told, {}, NOW), clusters=False)
    assert "clusterList" not in document
    assert len(as_text([document], "yaml")) < 2000


def test_an_empty_record_has_its_counts_nonetheless() -> None:
    assert record_document(ProgressRecord()) == {
        "phase": "Starting",
        "imagesDone": 0,
        "imagesTotal": 0,
        "bytesDone": 0,
        "bytesTotal": 0,
        "bytesPerS": 0,
    }


def keys_of(document: Any) -> set[str]:
    if isinstance(document, list):
        return {key for entry in document for key in keys_of(entry)}
    if not isinstance(document, dict):
        return set()
    return set(document) | {key for value in document.values() for key in keys_of(value)}


def test_every_name_in_a_document_is_in_the_reference() -> None:
    page = (REFERENCE / "commands.md").read_text() + (REFERENCE / "wire.md").read_text()
    row = cgu_row(summed(SMALL), SMALL_TOLD, {"": "not allowed"}, NOW)
    names = keys_of(cgu_document(row, clusters=True))
    names |= keys_of([page.document() for page in whole(Look(snapshot()))])
    assert len(names) > 30
    assert sorted(name for name in names - set(Phase) if f"`{name}`" not in page) == []


def test_every_situation_and_rank_is_in_the_reference() -> None:
    page = (REFERENCE / "commands.md").read_text()
    words = [*Situation, *(rank.name.lower() for rank in Rank)]
    assert [word for word in words if f"`{word}`" not in page] == []


def test_every_exit_code_is_in_the_reference() -> None:
    page = (REFERENCE / "commands.md").read_text()
    looking = {code for _, code in EXIT_CODES} - {3}  # the operator's alone
    assert sorted(code for code in looking if f"| {code} |" not in page) == []


def snapshot() -> Snapshot:
    return Snapshot(now=NOW, rules=Rules(), cgu=SMALL, clusters={})
