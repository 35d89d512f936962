"""What the documentation refers to exists: pages, headings, commands, settings, names on the wire."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from talm.api.progress import EXIT_CODES
from talm.api.words import Action, View
from talm.cli.main import COMMANDS, load
from talm.hub.settings import Settings, flag
from talm.sim.faults import FAULTS

ROOT = Path(__file__).parents[1]
WIDEST = 112
LISTED = ("git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md")


def _pages() -> list[Path]:
    """Every page of the repository; of an unpacked archive those that are usually there."""
    listed = subprocess.run(LISTED, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        found = [ROOT / line for line in listed.stdout.splitlines()]
    else:
        found = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("bench/*.md")]
    return sorted(path for path in found if path.exists())


PAGES = _pages()
BY_NAME = {str(path.relative_to(ROOT)): path for path in PAGES}

FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
MAKE = re.compile(r"(?:`|^\$? *|(?<=\$ ))make ([a-z0-9-]+)", re.MULTILINE)
TALM = re.compile(r"(?:`|\.venv/bin/|kubectl )talm ([a-z]+)((?:[^`\n\\]|\\\n)*)")
VARIABLE = re.compile(r"\bTALM_[A-Z_]+\b")
# Not the operator's: the build's, the tests', and the word for any setting.
OTHER_VARIABLES = {"TALM_CACHE", "TALM_NO_SKIP", "TALM_NAME"}


def each(pages: dict[str, Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", pages.values(), ids=pages.keys())


def prose(text: str) -> str:
    """The page without its code blocks."""
    return FENCE.sub("", text)


def blocks(language: str) -> Iterator[tuple[str, str]]:
    for name, path in BY_NAME.items():
        for number, found in enumerate(FENCE.finditer(path.read_text()), start=1):
            if found[1] == language:
                yield f"{name}-{number}", found[2]


def anchors(path: Path) -> set[str]:
    """The fragments that a page's headings have, as GitHub makes them."""
    made = set()
    for heading in HEADING.findall(prose(path.read_text())):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        made.add(re.sub(r"[^\w\- ]", "", text).strip().replace(" ", "-"))
    return made


@each(BY_NAME)
def test_every_link_leads_somewhere(path: Path) -> None:
    broken = []
    for link in LINK.findall(prose(path.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, fragment = link.partition("#")
        there = (path.parent / target).resolve() if target else path
        found = there.exists() and there.is_relative_to(ROOT)
        if not found or (fragment and fragment not in anchors(there)):
            broken.append(link)
    assert broken == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached = {ROOT / "README.md"}
    new = set(reached)
    while new:
        links = [(page.parent, link) for page in new for link in LINK.findall(page.read_text())]
        targets = {(folder / link.partition("#")[0]).resolve() for folder, link in links}
        new = (targets & set(PAGES)) - reached
        reached |= new
    ours = {path for path in PAGES if path.parent == ROOT or ROOT / "docs" in path.parents}
    assert sorted(str(path.relative_to(ROOT)) for path in ours - reached) == []


@each(BY_NAME)
def test_every_make_target_that_is_named_exists(path: Path) -> None:
    rules = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert [name for name in MAKE.findall(path.read_text()) if name not in rules] == []


def test_contributing_names_every_make_target_that_has_a_use() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = re.findall(r"^#   make ([a-z0-9-]+)", makefile, re.MULTILINE)
    assert named
    assert set(named) <= set(MAKE.findall((ROOT / "CONTRIBUTING.md").read_text()))


def options(command: click.Command) -> set[str]:
    return {
        name
        for parameter in command.params
        for name in (*parameter.opts, *parameter.secondary_opts)
    } | {"--help"}


@each(BY_NAME)
def test_every_talm_command_and_its_options_exist(path: Path) -> None:
    unknown = []
    for name, rest in TALM.findall(path.read_text()):
        if name not in COMMANDS:
            unknown.append(f"talm {name}")
            continue
        command = load(name)
        known = options(command)
        if isinstance(command, click.Group):
            for subcommand in command.commands.values():
                known |= options(subcommand)
        given = set(re.findall(r"(?<!\S)--[a-z-]+", rest))
        unknown += [f"talm {name} {option}" for option in sorted(given - known)]
    assert unknown == []


@each(BY_NAME)
def test_every_variable_that_is_named_is_a_setting(path: Path) -> None:
    settings = {f"TALM_{field.name.upper()}" for field in dataclasses.fields(Settings)}
    named = set(VARIABLE.findall(path.read_text()))
    assert sorted(named - settings - OTHER_VARIABLES) == []


def test_every_setting_that_a_how_to_links_exists() -> None:
    link = re.compile(r"\[`([a-z-]+)`\]\([^)]*settings\.md\)")
    settings = {flag(field.name) for field in dataclasses.fields(Settings)}
    named = {name for path in PAGES for name in link.findall(path.read_text())}
    assert named and named <= settings


@pytest.mark.parametrize("text", [pytest.param(t, id=i) for i, t in blocks("yaml")])
def test_a_block_of_yaml_can_be_read(text: str) -> None:
    assert list(yaml.safe_load_all(text))


@pytest.mark.parametrize("text", [pytest.param(t, id=i) for i, t in blocks("python")])
def test_an_example_of_code_is_in_the_code(text: str) -> None:
    """Line by line, since an example may leave lines out."""
    sources = [*ROOT.glob("src/talm/**/*.py"), *ROOT.glob("tests/**/*.py")]
    known = {line.strip() for path in sources for line in path.read_text().splitlines()}
    assert [line for line in text.splitlines() if line.strip() not in known] == []


def test_wire_names_every_view_action_and_exit_code() -> None:
    page = (ROOT / "docs" / "reference" / "wire.md").read_text()
    codes = [f"{code} | `{failure}`" for failure, code in EXIT_CODES.items()]
    names = [f"`{name}`" for name in (*View, *Action)]
    assert [word for word in names + codes if word not in page] == []


def test_the_fleets_how_to_names_every_fault() -> None:
    page = (ROOT / "docs" / "howto" / "simulate-a-fleet.md").read_text()
    assert [name for name in FAULTS if f"`{name}`" not in page] == []


def test_no_line_of_prose_is_wider_than_a_screen() -> None:
    """Tables, code and pages that are made from the code are as wide as they need."""
    wide = []
    for name, path in BY_NAME.items():
        text = path.read_text()
        if re.search(r"(?m)^(<!-- Generated|Made from|Drawn from)", text):
            continue
        lines = prose(text).splitlines()
        wide += [f"{name}: {line}" for line in lines if len(line) > WIDEST and "|" not in line]
    assert wide == []
