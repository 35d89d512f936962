"""The documents for programs: complete, with names that stay."""

from __future__ import annotations

import json

import yaml

from talm.api.progress import ProgressRecord
from talm.cli.documents import as_text, cgu_document, record_document
from talm.cli.rows import NOTHING_TOLD, cgu_row
from tests.cli.fleets import NOW, SMALL, SMALL_TOLD, large
from tests.cli.golden import assert_golden


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
