"""`talm explain`: what a CGU or one of its clusters waits for, since and until when, and what to do."""

from __future__ import annotations

import datetime as dt
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import click

from talm.api.cgu import ClusterGroupUpgrade
from talm.api.words import FINAL_PHASES, Phase
from talm.cli import shell
from talm.cli.documents import as_text, explanation_document
from talm.cli.layout import Paint, cut
from talm.cli.looking import Look, look, with_record
from talm.cli.where import Where
from talm.cli.words import moment, span
from talm.core.decide import stored_course
from talm.core.explain import Explanation, Situation, explain_cgu
from talm.core.explain_cluster import Explainer, explain_cluster
from talm.core.fleet import stored_phases
from talm.core.phrases import first_few
from talm.core.specifications import stored_specifications
from talm.core.turns import awaited_now
from talm.errors import NoSuchObject

_NAMED: Final = 5
_INDENT: Final = 13
_LEAST_ROOM: Final = 30
_OPEN: Final = frozenset(phase.value for phase in Phase if phase not in FINAL_PHASES)
# Settings are the operator's own; a person on the hub need not be able to read them.
_DEFAULTS: Final = "by the operator's default settings"


@click.command("explain")
@shell.name_argument(required=True)
@shell.hub_options
@shell.cluster_option(required=False)
@click.option("-o", "--output", type=click.Choice(["json", "yaml"]))
def explain(*, where: Where, name: str, cluster: str, output: str | None) -> None:
    """Say which gate or party a CGU waits for, since when, until when, and what to do about it.

    With --cluster the same for one of its clusters. What could not be read is said, with the reason.
    """
    shell.run(_explain(where, name, cluster, output))


async def _explain(where: Where, name: str, cluster: str, output: str | None) -> None:
    async with where.reader() as reader:
        cgu = await reader.cgu(name, where.namespace)
        if cluster:
            check_member(cgu, cluster)
        looked = await look(reader.client, cgu, [cluster] if cluster else stored_phases(cgu.status))
        if cluster:
            looked = await with_record(reader.client, looked, cluster)
    pages = [one_cluster(looked, cluster)] if cluster else whole(looked)
    if output:
        found = [page.document() for page in pages]
        click.echo(as_text(found[0] if cluster else found, output), nl=False)
        return
    now = looked.seen.now
    for number, page in enumerate(pages):
        lines = page.lines(now, shell.paint(), shell.width())
        click.echo("\n" * bool(number) + "\n".join(lines))


def check_member(cgu: ClusterGroupUpgrade, cluster: str) -> None:
    """Raise NoSuchObject for a cluster that the CGU does not have."""
    known = {c for batch in cgu.status.remediation_plan or () for c in batch}
    known |= {*stored_phases(cgu.status), *(state.name for state in cgu.status.clusters or ())}
    if cluster in known:
        return
    name = "/".join(cgu.metadata.key)
    some = sorted(known)[:_NAMED]
    has = (
        f"it has {', '.join(some)}{' …' if len(known) > len(some) else ''}"
        if some
        else "it has none"
    )
    raise NoSuchObject(f"{name} has no cluster {cluster} in its plan; {has}")


@dataclass(frozen=True, slots=True)
class Page:
    """An explanation with its subject; `clusters` are those that it is about.

    `caches`: what one cluster has begun with, where that is not what most have.
    """

    subject: str
    state: str
    why: Explanation
    unknown: str = ""
    clusters: tuple[str, ...] = field(default=())
    caches: str = ""

    def document(self) -> dict[str, object]:
        """For programs."""
        found = {
            "subject": self.subject,
            "state": self.state,
            **explanation_document(self.why),
            "do": self.why.do,
            "clusters": list(self.clusters),
            "unknown": self.unknown,
            "caches": self.caches,
        }
        return {key: value for key, value in found.items() if value}

    def lines(self, now: dt.datetime, paint: Paint, width: int | None) -> Iterable[str]:
        """For people; long sentences go on below themselves where the terminal ends."""
        yield f"{paint(self.subject, 'bold')}  {self.state}"
        for label, text in self._sentences(now):
            yield from _hanging(label, text, paint, width)

    def _sentences(self, now: dt.datetime) -> Iterable[tuple[str, str]]:
        why = self.why
        yield "waits for", why.waits_for
        if why.seen:
            yield "seen", cut(why.seen, None)
        if why.since is not None:
            yield "since", f"{moment(why.since)}, {span(now - why.since)} ago"
        if why.until is not None:
            ahead = _ahead(why.until - now)
            yield "until", f"{moment(why.until)}, {ahead}: then {why.then}{self._by()}"
        if self.unknown:
            yield "unknown", self.unknown
        if self.caches:
            yield "caches", self.caches
        yield "do", why.do

    def _by(self) -> str:
        return f", {_DEFAULTS}" if self.state in _OPEN else ""


def _hanging(label: str, text: str, paint: Paint, width: int | None) -> Iterable[str]:
    room = max(width - _INDENT, _LEAST_ROOM) if width is not None else 0
    # Names and commands are copied from here: they are never cut in two.
    parts = (
        textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) if room else []
    )
    color = "yellow" if label == "do" else ""
    for number, part in enumerate(parts or [text]):
        shown = paint(part, color) if color else part
        yield f"  {label if not number else '':<{_INDENT - 2}}{shown}"


def _ahead(left: dt.timedelta) -> str:
    return f"in {span(left)}" if left > dt.timedelta() else f"{span(-left)} ago"


def one_cluster(looked: Look, cluster: str) -> Page:
    """The page of one cluster."""
    seen = looked.seen
    phase = stored_phases(seen.cgu.status).get(cluster)
    return Page(
        f"{'/'.join(seen.cgu.metadata.key)} on {cluster}",
        phase.value if phase is not None else "",
        explain_cluster(seen, cluster),
        looked.unknown.get(cluster, ""),
        caches=_caches(seen.cgu, cluster),
    )


def _caches(cgu: ClusterGroupUpgrade, cluster: str) -> str:
    """What this cluster has begun with, "" for what most have."""
    found = stored_specifications(cgu.status)
    if found is None or cluster not in found.of:
        return ""
    spec = found.of_cluster(cluster)
    asked = [text for text in (spec.platform_image, *spec.operators_packages_and_channels) if text]
    what = f"{', '.join(asked[:_NAMED])}{' …' if len(asked) > _NAMED else ''}"
    return f"specification {found.hash_of(cluster)}, which is not that of most clusters: {what}"


def whole(looked: Look) -> list[Page]:
    """The CGU's page, and while clusters pre-cache one for each thing that they wait for."""
    seen = looked.seen
    told = explain_cgu(seen)
    pages = [Page("/".join(seen.cgu.metadata.key), told.situation.value, told.why)]
    phases = stored_phases(seen.cgu.status)
    bad = told.situation in {Situation.FAILED, Situation.WAITING}
    course = stored_course(seen.cgu.status)
    verifies = course is not None and awaited_now(course, phases)
    if told.situation is Situation.PRECACHING or bad or verifies:
        pages += _groups(looked, phases)
    return pages


def _groups(looked: Look, phases: Mapping[str, Phase]) -> Iterable[Page]:
    """Clusters that wait for the same in the same state, the failed ones first; the done are left out."""
    together: dict[tuple[bool, str, str, str], list[str]] = defaultdict(list)
    explained: dict[str, Explanation] = {}
    explainer = Explainer(looked.seen)
    stored = looked.seen.cgu.status.precaching
    causes = {entry.cluster for entry in (stored.failures if stored else None) or ()}
    for cluster, phase in phases.items():
        if phase is Phase.SUCCEEDED:
            continue
        why = explained[cluster] = explainer.explain(cluster)
        kind = why.seen.partition(":")[0] if cluster in causes else ""
        together[phase not in FINAL_PHASES, phase.value, why.waits_for, kind].append(cluster)
    for (_, state, _, _), members in sorted(together.items(), key=lambda item: item[0][:2]):
        first = min(members, key=lambda c: explained[c].since or looked.seen.now)
        unknown = next((looked.unknown[c] for c in members if c in looked.unknown), "")
        yield Page(_names(members), state, explained[first], unknown, tuple(sorted(members)))


def _names(members: list[str]) -> str:
    count = len(members)
    return f"{count} cluster{'' if count == 1 else 's'}: {first_few(sorted(members))}"
