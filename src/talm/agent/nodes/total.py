"""The sum of what the nodes tell, told as one record: counts of all, and an entry for each that failed.

What a node counted before its pod was replaced stands until the new one has counted, so that the sum
goes backwards only where a node really begins again, which is a restart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from talm.agent.failures import text_of
from talm.agent.nodes.standing import Standing, State, summary
from talm.agent.progress import Progress
from talm.agent.record import cut
from talm.api.progress import FailedImage, FailureClass, ProgressRecord, RunPhase
from talm.errors import AgentError

_NOTHING: Final = ProgressRecord()
_COUNTS: Final = (
    "images_done", "images_total", "images_failed", "images_missing", "bytes_done", "bytes_total",
)  # fmt: skip
_DONE: Final = ("images_done", "bytes_done")
_PASSING: Final = FailureClass.PARTLY_CACHED.value  # what it will be when it does not pass
_MAX_TEXT: Final = 500  # of one node: its own record has the rest


class Total(Progress):
    """The numbers of all nodes together."""

    def __init__(self, run: str) -> None:
        super().__init__(run)
        self._counted: dict[str, ProgressRecord] = {}
        self._standings: tuple[Standing, ...] = ()

    def sum_up(self, standings: Sequence[Standing]) -> None:
        """Take in how far every node is."""
        self._tell_changes(standings)
        self._counted = {one.node: self._count(one) for one in standings}
        first, self._standings = not self._standings, tuple(standings)
        before, counted = self._record, self._counted.values()
        sums = {name: sum(getattr(one, name) for one in counted) for name in _COUNTS}
        gained = sums["bytes_done"] - before.bytes_done
        if not first and gained > 0:  # what was there when we came is nobody's speed
            self._meter.gained(gained)
        backwards = any(sums[name] < getattr(before, name) for name in _DONE)
        self._change(
            **sums,
            restarts=before.restarts + backwards,
            nodes_total=len(standings),
            nodes_done=sum(one.state is State.DONE for one in standings),
            nodes_failed=sum(one.state is State.FAILED for one in standings),
            failed=tuple(_entry(one.node, one.error) for one in standings if one.error),
            pinned=_pinned(standings),
            not_pinned=_not_pinned(standings),
        )
        self._tell_trouble(standings)
        if before.phase != RunPhase.DOWNLOADING and sums["images_total"]:
            self.enter(RunPhase.DOWNLOADING)

    def leave_out(self, why: Mapping[str, str]) -> None:
        """Tell of nodes that do not pull."""
        for node, reason in why.items():
            self.warn(f"node {node} is left out: {reason}")

    def hindered(self, text: str) -> None:
        """Note a passing trouble of the coordination itself; the last error until all is well."""
        words = cut(text, _MAX_TEXT)
        if words != self._record.error_text:
            self._note(words)
            self._change(error_class=_PASSING, error_text=words)

    def told(self) -> ProgressRecord:
        """Return the record as it is told now; no time is known while nodes wait for their turn."""
        record = super().told()
        if all(one.state is not State.WAITS for one in self._standings):
            return record
        return msgspec.structs.replace(record, eta_s=None)

    def _count(self, one: Standing) -> ProgressRecord:
        """The last record of a node that has counts: a new pod has none until it has read the spec."""
        if one.record is not None and (one.record.images_total or one.record.images_failed):
            return one.record
        return self._counted.get(one.node, one.record or _NOTHING)

    def _tell_changes(self, standings: Sequence[Standing]) -> None:
        known = {one.node: one.told for one in self._standings}
        for one in standings:
            if known.get(one.node) != one.told:
                why = f": {cut(str(one.error))}" if one.error else ""
                self._note(f"node {one.node} {one.told}{why}")

    def _tell_trouble(self, standings: Sequence[Standing]) -> None:
        """The last failure; while there is none, what some node tries again or waits for."""
        for one in sorted(standings, key=lambda one: one.error is None):
            kind, text = _trouble(one)
            if text:
                words = cut(f"node {one.node}: {text}", _MAX_TEXT)
                self._change(error_class=kind, error_text=words)
                return
        self._change(error_class="", error_text="")

    def _count_missing(self) -> None:
        """Name the nodes that are not done: how far each is, its own record says."""
        undone = [
            FailedImage(
                node=one.node, error_class=_PASSING, error_text=f"node {one.node} {_far(one)}"
            )
            for one in self._standings
            if one.state not in (State.DONE, State.FAILED)
        ]
        self._change(failed=(*self._record.failed, *undone))

    def _last_words(self, error: AgentError) -> str:
        words = super()._last_words(error)
        stopped = error.kind in (FailureClass.PARTLY_CACHED, FailureClass.INTERRUPTED)
        if stopped and self._standings and not any(one.error for one in self._standings):
            return f"{words}; {summary(self._standings)}"
        return words


def _entry(node: str, error: AgentError) -> FailedImage:
    text = cut(f"node {node}: {text_of(error)}", _MAX_TEXT)
    return FailedImage(node=node, error_class=error.kind, error_text=text)


def _trouble(one: Standing) -> tuple[str, str]:
    """Class and text of what is wrong with a node now; ("", "") when nothing is."""
    if one.error is not None:
        return one.error.kind, text_of(one.error)
    if one.stuck:
        return _PASSING, one.told
    if one.state is State.PULLS and one.record is not None:
        return one.record.error_class, one.record.error_text
    return "", ""


def _far(one: Standing) -> str:
    if one.record is None or not one.record.images_total or one.stuck:
        return one.told
    return f"has {one.record.images_done} of {one.record.images_total} images"


def _pinned(standings: Sequence[Standing]) -> bool | None:
    known = [one.record.pinned for one in standings if one.record and one.record.pinned is not None]
    return all(known) if known else None


def _not_pinned(standings: Sequence[Standing]) -> str:
    """The first node's reason: most often it is that of all."""
    for one in standings:
        if one.record and one.record.not_pinned:
            return cut(f"node {one.node}: {one.record.not_pinned}", _MAX_TEXT)
    return ""
