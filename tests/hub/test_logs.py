"""How log lines look."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import structlog

from talm.hub.logs import set_up


@pytest.fixture(autouse=True)
def logs_as_they_were() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_a_json_line_has_level_time_and_fields(capsys: pytest.CaptureFixture[str]) -> None:
    set_up("json", "info")
    log = structlog.get_logger("test")
    log.debug("phase", cluster="c1")
    log.info("phase", cgu="ztp/du", was="Starting", now="Active")
    (line,) = capsys.readouterr().err.splitlines()
    told = json.loads(line)
    assert told.pop("timestamp").endswith("Z")
    assert told == {
        "event": "phase",
        "level": "info",
        "cgu": "ztp/du",
        "was": "Starting",
        "now": "Active",
    }


def test_an_exception_is_one_line_with_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    set_up("json", "info")
    try:
        int("odd")
    except ValueError:
        structlog.get_logger("test").exception("pass failed")
    (line,) = capsys.readouterr().err.splitlines()
    assert "ValueError: invalid literal" in json.loads(line)["exception"]


def test_debug_tells_of_clusters_too_and_the_console_form_is_for_people(
    capsys: pytest.CaptureFixture[str],
) -> None:
    set_up("console", "debug")
    structlog.get_logger("test").debug("phase", cluster="c1")
    text = capsys.readouterr().err
    assert "debug" in text
    assert "cluster=c1" in text
    assert "\x1b" not in text, "no colours where nobody looks"
