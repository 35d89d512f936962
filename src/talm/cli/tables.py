"""How CGUs and clusters look as lists.

Decided here: which columns there are and which matter least, how many rows are shown, what is said of the
rest.  Not here: what is in a row (rows.py), how a table is laid out (layout.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from talm.api.progress import FailureClass
from talm.api.words import BAD_PHASES, Phase
from talm.cli.layout import Cell, Column, Paint, cut, lay_out, plain
from talm.cli.rows import CguRow, ClusterRow, Rank
from talm.cli.words import part, percent, size, span
from talm.core.explain import Situation
from talm.core.tally import Tally

# So many clusters are shown; of more, those that want to be looked at.
MOST_ROWS: Final = 30

# ---- clusters ----------------------------------------------------------------------------------------

_CLUSTERS: Final = (
    Column("CLUSTER"),
    Column("STATE"),
    Column("UPDATE", goes=2),
    Column("SINCE", right=True, goes=3),
    Column("IMAGES", right=True, goes=4),
    Column("BYTES", right=True, goes=1),
    Column("%", right=True, goes=6),
    Column("RATE", right=True, goes=5),
    Column("ETA", right=True, goes=3),
    Column("TRY", right=True, goes=7),
    Column("CAUSE"),
)
_WIDE: Final = (*_CLUSTERS[:-1], Column("SPEC", goes=8), Column("CURRENT IMAGE"), Column("CAUSE"))
_JOB_WORDS: Final = ("BackoffLimitExceeded", "PodFailurePolicy", "DeadlineExceeded")
_RANK_COLORS: Final = {
    Rank.FAILED: "red",
    Rank.STUCK: "yellow",
    Rank.AT_WORK: "cyan",
    Rank.BEGINNING: "",
    Rank.WAITING: "dim",
    Rank.DONE: "green",
}


def _cluster_cells(row: ClusterRow, *, wide: bool) -> list[Cell]:
    record = row.record
    unknown = "?" if row.unknown else ""
    cells = [
        row.cluster,
        row.state.value,
        row.update,
        span(row.waited) if row.waited is not None else "",
        f"{record.images_done}/{record.images_total or '?'}" if record else unknown,
        _bytes(record.bytes_done, record.bytes_total) if record else unknown,
        percent(record.bytes_done, record.bytes_total) if record else "",
        f"{size(record.bytes_per_s)}/s" if record and record.bytes_per_s else "",
        span(record.eta_s) if record and record.eta_s is not None else "",
        str(record.attempt) if record and record.attempt > 1 else "",
    ]
    if wide:
        cells += [row.spec, record.current_image if record else ""]
    cause = row.cause if wide else _from_class(row.cause)
    colors = {1: _RANK_COLORS[row.rank]}
    return [Cell(text, colors.get(i, "")) for i, text in enumerate([*cells, cause])]


def _from_class(cause: str) -> str:
    """A cause without the Job's own words before the workload's class, which say nothing more."""
    starts = [at for kind in FailureClass if (at := cause.find(f"{kind}: ")) > 0]
    return cause[min(starts) :] if starts and cause.startswith(_JOB_WORDS) else cause


def _bytes(done: int, total: int) -> str:
    return part(done, total) if total else size(done)


def cluster_lines(
    row: CguRow,
    *,
    width: int | None,
    paint: Paint = plain,
    most: int | None = MOST_ROWS,
    wide: bool = False,
) -> list[str]:
    """The whole page of one CGU: its head, its sums, its clusters; `most` None shows all of them."""
    shown = row.clusters if most is None else row.clusters[:most]
    lines = [*head_lines(row, width=width, paint=paint)]
    if shown:
        columns = _WIDE if wide else _CLUSTERS
        cells = [_cluster_cells(cluster, wide=wide) for cluster in shown]
        lines += ["", *lay_out(columns, cells, width=None if wide else width, paint=paint)]
    rest = row.clusters[len(shown) :]
    if rest:
        counted = ", ".join(f"{n} {s}" for s, n in _by_state(rest))
        lines.append(paint(f"and {len(rest)} more: {counted}; --all shows them", "dim"))
    return [*lines, *(paint(cut(note, width), "dim") for note in row.notes)]


def _by_state(rows: Iterable[ClusterRow]) -> list[tuple[Phase, int]]:
    counted = Counter(row.state for row in rows)
    return [(phase, counted[phase]) for phase in Phase if counted[phase]]


def head_lines(row: CguRow, *, width: int | None, paint: Paint = plain) -> list[str]:
    """What is said of a CGU as a whole."""
    why = row.told.why
    color = _SITUATION_COLORS[row.told.situation]
    lines = [f"{paint(row.name, 'bold')}  {paint(row.told.situation.value, color)}"]
    waits = why.waits_for if row.told.situation not in OVER else why.seen
    label = "Waits for  " if row.told.situation not in OVER else "Ended      "
    lines.append(label + cut(waits, None if width is None else width - len(label)))
    if row.total:
        states = ", ".join(
            paint(f"{count} {phase}", _phase_color(phase)) for phase, count in row.states.items()
        )
        lines.append(f"Clusters   {row.total}: {states}")
    if row.tally.records:
        lines.append(f"Progress   {progress_words(row.tally)}")
    return lines


def progress_words(tally: Tally) -> str:
    """The sums in a sentence."""
    clusters = f"{tally.records} cluster{'' if tally.records == 1 else 's'}"
    parts = [f"{tally.images_done} of {tally.images_total} images"]
    if tally.bytes_total:
        share = percent(tally.bytes_done, tally.bytes_total)
        parts.append(f"{part(tally.bytes_done, tally.bytes_total)} ({share})")
    if tally.bytes_per_s:
        parts.append(f"{size(tally.bytes_per_s)}/s")
    if tally.eta_s is not None:
        more = " or more" if tally.unestimated else ""
        parts.append(f"{span(tally.eta_s)}{more} left")
    return f"{', '.join(parts)} on {clusters}"


def _phase_color(phase: Phase) -> str:
    if phase in BAD_PHASES:
        return "red"
    return {Phase.SUCCEEDED: "green", Phase.ACTIVE: "cyan"}.get(phase, "")


# ---- CGUs --------------------------------------------------------------------------------------------

OVER: Final = frozenset({Situation.COMPLETED, Situation.TIMED_OUT, Situation.FAILED})
_SITUATION_COLORS: Final = {
    Situation.UNSEEN: "red",
    Situation.HELD: "red",
    Situation.PRECACHING: "cyan",
    Situation.WAITING: "yellow",
    Situation.UPDATING: "cyan",
    Situation.COMPLETED: "green",
    Situation.TIMED_OUT: "red",
    Situation.FAILED: "red",
    Situation.DELETING: "dim",
}
_CGUS: Final = (
    Column("NAMESPACE", goes=2),
    Column("NAME"),
    Column("SITUATION"),
    Column("CLUSTERS", right=True),
    Column("CACHED", right=True),
    Column("FAILED", right=True, goes=1),
    Column("ACTIVE", right=True, goes=3),
    Column("IMAGES", right=True, goes=6),
    Column("BYTES", right=True, goes=5),
    Column("RATE", right=True, goes=7),
    Column("ETA", right=True, goes=4),
    Column("WAITS FOR"),
)


def cgu_lines(rows: Sequence[CguRow], *, width: int | None, paint: Paint = plain) -> list[str]:
    """The list of the CGUs, and what is not known of them."""
    if not rows:
        return ["no ClusterGroupUpgrades"]
    lines = lay_out(_CGUS, [_cgu_cells(row) for row in rows], width=width, paint=paint)
    notes = dict.fromkeys(note for row in rows for note in row.notes)
    return [*lines, *(paint(cut(note, width), "dim") for note in notes)]


def _cgu_cells(row: CguRow) -> list[Cell]:
    failed = sum(row.states.get(phase, 0) for phase in BAD_PHASES)
    tally, why = row.tally, row.told.why
    over = row.told.situation in OVER
    return [
        Cell(row.cgu.metadata.namespace),
        Cell(row.cgu.metadata.name),
        Cell(row.told.situation.value, _SITUATION_COLORS[row.told.situation]),
        Cell(str(row.total)),
        Cell(str(row.states.get(Phase.SUCCEEDED, 0))),
        Cell(str(failed) if failed else "", "red"),
        Cell(_some(row.states.get(Phase.ACTIVE, 0))),
        Cell(f"{tally.images_done}/{tally.images_total}" if tally.records else ""),
        Cell(_bytes(tally.bytes_done, tally.bytes_total) if tally.records else ""),
        Cell(f"{size(tally.bytes_per_s)}/s" if tally.bytes_per_s else ""),
        Cell(span(tally.eta_s) if tally.eta_s is not None else ""),
        Cell(why.seen if over else why.waits_for),
    ]


def _some(count: int) -> str:
    return str(count) if count else ""
