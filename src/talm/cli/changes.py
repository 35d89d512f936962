"""What has changed between two looks, a line for each: for pipes and logs.

Told are: a CGU's situation and what it waits for, each cluster's state and the cause of its trouble, and
the sums of its clusters at each whole percent.  Not the bytes of every cluster: of thousands that would be
a flood; `talm status -o json` has them.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Sequence
from typing import Final

from talm.api.words import Phase
from talm.cli.rows import CguRow, ClusterRow
from talm.cli.tables import progress_words
from talm.cli.words import moment

# A cause that only counts on ("nothing new for 3m") is the same cause.
_NUMBERS: Final = re.compile(r"\d+[a-z]*")


class Changes:
    """Remembers what was told; the first look tells how everything is."""

    def __init__(self) -> None:
        self._cgus: dict[str, str] = {}
        self._shares: dict[str, int] = {}
        self._clusters: dict[tuple[str, str], tuple[Phase, str]] = {}

    def since(self, rows: Sequence[CguRow], now: dt.datetime) -> list[str]:
        """The lines by which this look differs from the one before."""
        stamp = moment(now)
        lines = [f"{stamp}  {row.name}  {text}" for row in rows for text in (*self._of_cgu(row),)]
        names = {row.name for row in rows}
        for gone in sorted(self._cgus.keys() - names):
            del self._cgus[gone]
            lines.append(f"{stamp}  {gone}  deleted")
        return lines

    def _of_cgu(self, row: CguRow) -> Iterable[str]:
        why = row.told.why
        text = f"{row.told.situation}: waits for {why.waits_for}"
        if self._cgus.get(row.name) != text:
            self._cgus[row.name] = text
            yield text
        for cluster in sorted(row.clusters, key=lambda c: c.cluster):
            yield from self._of_cluster(row.name, cluster)
        tally = row.tally
        share = 100 * tally.bytes_done // tally.bytes_total if tally.bytes_total else 0
        if share and self._shares.get(row.name) != share:
            self._shares[row.name] = share
            yield progress_words(tally)

    def _of_cluster(self, name: str, row: ClusterRow) -> Iterable[str]:
        key = (name, row.cluster)
        now = (row.state, _NUMBERS.sub("", row.cause))
        before = self._clusters.get(key)
        if before == now:
            return
        self._clusters[key] = now
        cause = f": {' '.join(row.cause.split())}" if row.cause else ""
        was = f" (was {before[0]})" if before is not None and before[0] is not row.state else ""
        yield f"{row.cluster}  {row.state}{was}{cause}"
