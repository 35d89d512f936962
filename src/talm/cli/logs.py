"""`talm logs`: what a cluster's workload told last, or where else to look."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Final

import click

from talm.api.cgu import ClusterGroupUpgrade
from talm.api.progress import ProgressRecord
from talm.api.words import BAD_PHASES, MANUAL_NAMESPACE, Phase
from talm.cli import shell
from talm.cli.documents import as_text, record_document
from talm.cli.explain import check_member
from talm.cli.status import read_records
from talm.cli.told import Told, order_of, told_on
from talm.cli.where import Where
from talm.cli.words import moment, part, percent, size, span
from talm.core.explain_cluster import failure_of
from talm.core.fleet import stored_phases

_ON_SPOKE: Final = (
    f"kubectl logs -n {MANUAL_NAMESPACE} job/pre-cache, on the spoke, while its pod is there"
)
_WHY_NOT: Final = {
    Phase.NOT_STARTED: "nothing runs there yet",
    Phase.PREPARING: "nothing runs there yet",
    Phase.STARTING: "nothing has been told yet: the Job is being set up",
    Phase.ACTIVE: f"nothing has been told yet; {_ON_SPOKE}",
    Phase.SUCCEEDED: (
        "nothing is kept: the namespace on the spoke is deleted at once, and the log with it; where it"
        " would be kept is a log collector of the spoke"
    ),
}
# A healthy one is half a minute old, or as much older as it took to the hub.
_OLD: Final = dt.timedelta(minutes=2)
_FAILED: Final = f"until the CGU ends: {_ON_SPOKE}"


@click.command("logs")
@shell.name_argument(required=True)
@shell.hub_options
@shell.cluster_option(required=True)
@click.option("-o", "--output", type=click.Choice(["json", "yaml"]))
def logs(*, where: Where, name: str, cluster: str, output: str | None) -> None:
    """Show what the workload of one cluster told last: attempts, counts, errors, its last lines.

    It is read on the hub, where the operator has the workload's record told while it runs; the cluster itself
    is not asked. Where nothing is kept, the command says why, and where to look.
    """
    shell.run(_logs(where, name, cluster, output))


async def _logs(where: Where, name: str, cluster: str, output: str | None) -> None:
    async with where.reader() as reader:
        cgu = await reader.cgu(name, where.namespace)
        check_member(cgu, cluster)
        records = await read_records(reader, [cluster])
    told = told_on(cluster, order_of(cgu), records)
    nothing = why_not(cgu, cluster, records.why(cluster)) if told is None else ""
    if output:
        document = record_document(told.record) if told else {"unknown": nothing}
        click.echo(as_text(document, output), nl=False)
        return
    if told is None:
        click.echo(f"{cluster}: {nothing}")
        return
    click.echo("\n".join(record_lines(cluster, told, dt.datetime.now(dt.UTC))))


def why_not(cgu: ClusterGroupUpgrade, cluster: str, refused: str) -> str:
    """Why there is no record, and where to look instead; `refused`: what may not be read, and why."""
    phase = stored_phases(cgu.status).get(cluster, Phase.NOT_STARTED)
    if phase in BAD_PHASES:
        entry = failure_of(cgu.status, cluster)
        said = f" ({entry.message})" if entry is not None and entry.message else ""
        return f"{phase}{said}: {_FAILED}"
    if refused and phase is Phase.ACTIVE:
        return f"{phase}: {refused}; {_ON_SPOKE}"
    return f"{phase}: {_WHY_NOT[phase]}"


def record_lines(cluster: str, told: Told, now: dt.datetime) -> Iterable[str]:
    """A record as lines."""
    record = told.record
    yield f"{cluster}  {record.phase}, attempt {record.attempt}"
    if record.heartbeat is not None:
        age = now - record.heartbeat
        old = " by the spoke's clock (it should tell every 30 s)" if abs(age) > _OLD else ""
        yield f"  told       {moment(record.heartbeat)}, {span(age)} ago{old}"
    yield from _nodes(record)
    yield f"  images     {record.images_done} of {record.images_total or '?'}{_failed(record)}"
    if record.bytes_total:
        share = percent(record.bytes_done, record.bytes_total)
        yield f"  bytes      {part(record.bytes_done, record.bytes_total)} ({share}){_speed(record)}"
    if record.current_image:
        yield f"  current    {record.current_image}"
    for text in record.earlier:
        yield f"  earlier    {text}"
    for text in record.warnings:
        yield f"  warning    {text}"
    if record.error_class:
        yield f"  last error {record.error_class}: {record.error_text}"
    for image in record.failed:
        what = f"{image.image} {image.error_class}: {image.error_text}".strip()
        yield f"  failed     {what}"
    for name in record.missing:
        yield f"  missing    {name}"
    if record.lines:
        yield "  last lines"
        yield from (f"    {line}" for line in record.lines)


def _nodes(record: ProgressRecord) -> Iterable[str]:
    """Only where every node of the cluster pulls."""
    if record.nodes_total:
        bad = f", {record.nodes_failed} failed" if record.nodes_failed else ""
        yield f"  nodes      {record.nodes_done} of {record.nodes_total} done{bad}"


def _failed(record: ProgressRecord) -> str:
    return f", {record.images_failed} failed" if record.images_failed else ""


def _speed(record: ProgressRecord) -> str:
    rate = f", {size(record.bytes_per_s)}/s" if record.bytes_per_s else ""
    return rate + (f", {span(record.eta_s)} left" if record.eta_s is not None else "")
