"""What the manual promises, read from `manual/expectations.yaml`, and the judge of it.

    commands' output ─┐
    what was watched ─┴─► Record ──► judge(expectation, record) ──► Verdict (holds, what was seen)

A record is plain data, so that a test can take one of a good run, change a word and see the line
fail.  Not here: how a record comes about (cli/walk.py).
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import msgspec

from talm.errors import SetupError
from talm.sim.plane.kubectltables import read_tables

FOLDER: Final = Path(__file__).with_name("manual")
CGU_FILE: Final = FOLDER / "clustergroupupgrades-group-du.yaml"
RUN: Final = "run"
KILL: Final = "kill"
_MIB: Final = 1 << 20
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_NOTHING: Final = object()


class State(msgspec.Struct, frozen=True):
    """A state of a cluster: the manual's name, the stored value, its meaning."""

    name: str
    stored: str
    means: str


class Command(msgspec.Struct, frozen=True):
    """A command of the manual and the cluster that it is for; it says `oc`."""

    cluster: str
    run: str

    def arguments(self) -> list[str]:
        """What comes after the program's name."""
        return shlex.split(self.run)[1:]

    def with_kubectl(self) -> str:
        """The line as it is typed with kubectl."""
        return f"kubectl {self.run.partition(' ')[2]}"


class _Expectation(msgspec.Struct, frozen=True, kw_only=True, tag_field="check"):
    id: str
    look: str = msgspec.field(name="in")
    says: str


class Columns(_Expectation, frozen=True, tag="columns"):
    """The first table's headers begin so."""

    begin: tuple[str, ...]


class Row(_Expectation, frozen=True, tag="row"):
    """Some line of some table has these cells; a cell between slashes is a pattern."""

    cells: dict[str, str]


class ConditionIs(_Expectation, frozen=True, tag="condition"):
    """A condition of a status, but for its time."""

    type: str
    status: str
    reason: str
    message: str


class Order(_Expectation, frozen=True, tag="order"):
    """The conditions begin with these types."""

    types: tuple[str, ...]


class Times(_Expectation, frozen=True, tag="times"):
    """Every condition's time is RFC 3339 with seconds."""


class Value(_Expectation, frozen=True, tag="value"):
    """A value inside a status."""

    path: str
    equals: Any


class Fact(_Expectation, frozen=True, tag="fact"):
    """Something watched; with `each`, a map that has this value for all of `among`."""

    of: str
    equals: Any = None
    each: Any = None
    among: Literal["clusters", "sites"] = "clusters"


class Resumed(_Expectation, frozen=True, tag="resumed"):
    """Of the bytes that were there when an agent was killed, `at_most` were fetched again."""

    of: str
    at_most: int


Expectation: TypeAlias = Columns | Row | ConditionIs | Order | Times | Value | Fact | Resumed


class Manual(msgspec.Struct, frozen=True):
    """The whole file; `beyond` has what the demo shows and the manual does not promise."""

    states: tuple[State, ...]
    commands: dict[str, Command]
    expectations: tuple[Expectation, ...]
    beyond: tuple[Expectation, ...]

    def state(self, stored: str) -> State:
        """The state of a stored value; absent is the first one.  An unknown value names itself."""
        wanted = stored or self.states[0].stored
        known = {state.stored: state for state in self.states}
        return known.get(wanted, State(wanted, wanted, "a state that the manual does not know"))

    def about(self, look: str) -> list[Expectation]:
        """The expectations of one command's output, of `run` or of `kill`, in the file's order."""
        return [entry for entry in (*self.expectations, *self.beyond) if entry.look == look]


class Record(msgspec.Struct):
    """What a run has shown: kubectl's output by command, and facts by name.

    `sites` are those of the clusters that have a node on which something is stored.
    """

    clusters: tuple[str, ...]
    sites: tuple[str, ...]
    image: str
    outputs: dict[str, str] = {}
    facts: dict[str, Any] = {}

    @property
    def digest(self) -> str:
        """The digest of the release image."""
        return self.image.partition("@")[2]


class Verdict(msgspec.Struct, frozen=True):
    """Whether an expectation holds; `seen` says what was there instead when it does not."""

    expectation: Expectation
    holds: bool
    seen: str = ""


def read_manual() -> Manual:
    """Read the expectations; raises SetupError when the file is not as it must be."""
    file = FOLDER / "expectations.yaml"
    try:
        return msgspec.yaml.decode(file.read_bytes(), type=Manual)
    except (OSError, msgspec.MsgspecError) as exc:
        raise SetupError(f"{file}: {exc}") from exc


def judge(expectation: Expectation, record: Record) -> Verdict:
    """Hold one expectation against a record."""
    problem = _problem(expectation, record)
    return Verdict(expectation, problem is None, problem or "")


def _problem(expectation: Expectation, record: Record) -> str | None:
    """What is wrong, None for nothing."""
    if isinstance(expectation, Fact):
        return _fact(expectation, record)
    if isinstance(expectation, Resumed):
        return _resumed(expectation, record)
    output = record.outputs.get(expectation.look, "")
    if not output.strip():
        return "nothing was printed"
    if isinstance(expectation, Columns | Row):
        return _table(expectation, output)
    try:
        status = json.loads(output)
    except ValueError:
        return f"no JSON: {_short(output)}"
    if isinstance(expectation, Value):
        return _value(expectation, status, record)
    return _conditions(expectation, status.get("conditions") or [])


def _table(expectation: Columns | Row, output: str) -> str | None:
    tables = read_tables(output)
    if isinstance(expectation, Columns):
        seen = tables[0].headers
        return None if seen[: len(expectation.begin)] == expectation.begin else " ".join(seen)
    rows = [row for table in tables for row in table.rows]
    name = expectation.cells["NAME"]
    named = [row for row in rows if _fits(row.get("NAME", ""), name)]
    for row in named:
        if all(_fits(row.get(header, ""), cell) for header, cell in expectation.cells.items()):
            return None
    if not named:
        return f"no line for {name.strip('/')}"
    shown = [
        {header: row.get(header, "(no such column)") for header in expectation.cells}
        for row in named
    ]
    return "; ".join(" ".join(f"{k}={v}" for k, v in row.items()) for row in shown)


def _fits(cell: str, wanted: str) -> bool:
    if len(wanted) > 1 and wanted.startswith("/") and wanted.endswith("/"):
        return re.fullmatch(wanted[1:-1], cell) is not None
    return cell == wanted


def _value(expectation: Value, status: Mapping[str, Any], record: Record) -> str | None:
    seen: Any = status
    for part in expectation.path.split("."):
        seen = seen.get(part, _NOTHING) if isinstance(seen, Mapping) else _NOTHING
    if seen is _NOTHING:
        return f"{expectation.path} is absent"
    wanted = _filled(expectation.equals, record)
    return None if seen == wanted else f"{expectation.path} is {_short(json.dumps(seen))}"


def _conditions(
    expectation: ConditionIs | Order | Times, conditions: Sequence[Mapping[str, Any]]
) -> str | None:
    match expectation:
        case ConditionIs():
            return _condition(expectation, conditions)
        case Order(types=types):
            seen = [str(c.get("type")) for c in conditions][: len(types)]
            return None if tuple(seen) == types else f"they begin {', '.join(seen) or 'with none'}"
        case Times():
            times = {str(c.get("type")): str(c.get("lastTransitionTime")) for c in conditions}
            odd = [f"{name}: {time}" for name, time in times.items() if not _TIME.fullmatch(time)]
            return "; ".join(odd) or (None if times else "no condition is there")


def _condition(expectation: ConditionIs, conditions: Sequence[Mapping[str, Any]]) -> str | None:
    wanted = (expectation.status, expectation.reason, expectation.message)
    for condition in conditions:
        if condition.get("type") == expectation.type:
            seen = tuple(str(condition.get(key, "")) for key in ("status", "reason", "message"))
            return None if seen == wanted else f"{expectation.type} is {', '.join(seen)}"
    return f"there is no condition {expectation.type}"


def _fact(expectation: Fact, record: Record) -> str | None:
    seen = record.facts.get(expectation.of, _NOTHING)
    if seen is _NOTHING:
        return "it did not come to that"
    if expectation.each is None:
        wanted = _filled(expectation.equals, record)
        return None if seen == wanted else f"{expectation.of} is {_short(json.dumps(seen))}"
    wanted = _filled(expectation.each, record)
    names = record.sites if expectation.among == "sites" else record.clusters
    odd = [f"{name}: {_said(seen.get(name))}" for name in names if seen.get(name) != wanted]
    return "; ".join(odd) or None


def _resumed(expectation: Resumed, record: Record) -> str | None:
    seen = record.facts.get(expectation.of)
    if seen is None:
        return "it did not come to that"
    again = seen["held"] + seen["fetched"] - seen["total"]
    if expectation.at_most < seen["held"] and again <= expectation.at_most:
        return None
    return f"{again / _MIB:.1f} of {seen['held'] / _MIB:.1f} MiB were fetched again"


def _filled(value: Any, record: Record) -> Any:
    """Put what this run has in place of $clusters, $image and $digest."""
    names = {"$clusters": list(record.clusters), "$image": record.image, "$digest": record.digest}
    return names.get(value, value) if isinstance(value, str) else value


def _said(value: Any) -> str:
    if isinstance(value, list):
        return " → ".join(str(entry) for entry in value)
    return str(value) if value else "nothing"


def _short(text: str, longest: int = 160) -> str:
    """One line, cut."""
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"
