"""Rows as documents for programs: the same facts as in the lists, complete, with names that stay.

Times are RFC 3339, spans seconds, sizes bytes.  What is unknown is absent, and `unknown` says why.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import yaml

from talm.api.cgu import PrecachingStatus
from talm.api.progress import ProgressRecord
from talm.api.words import Phase
from talm.cli.rows import CguRow, ClusterRow, stored_progress
from talm.cli.words import moment
from talm.core.explain import Explanation

Document = dict[str, Any]


def cgu_document(row: CguRow, *, clusters: bool) -> Document:
    """One CGU, with its clusters where they were asked for."""
    meta = row.cgu.metadata
    document = {
        "namespace": meta.namespace,
        "name": meta.name,
        "situation": row.told.situation.value,
        **explanation_document(row.told.why),
        "enable": row.cgu.spec.enable,
        "preCaching": row.cgu.spec.pre_caching,
        "clusters": row.total,
        "states": {phase.value: row.states.get(phase, 0) for phase in Phase},
        "progress": _tally(row) if row.tally.records else None,
        **_precaching(row.cgu.status.precaching),
        "notes": list(row.notes) or None,
    }
    if clusters:
        document["clusterList"] = [cluster_document(cluster) for cluster in row.clusters]
    return _present(document)


def cluster_document(row: ClusterRow) -> Document:
    """One cluster."""
    return _present(
        {
            "cluster": row.cluster,
            "state": row.state.value,
            "attention": row.rank.name.lower(),
            "waitedS": round(row.waited.total_seconds()) if row.waited else None,
            "update": row.update,
            "spec": row.spec,
            "cause": row.cause,
            "progress": record_document(row.record) if row.record else None,
            "unknown": row.unknown,
        }
    )


def record_document(record: ProgressRecord) -> Document:
    """A record with every count, those that are 0, too."""
    found: Document = msgspec.to_builtins(record)
    counts = ("imagesDone", "imagesTotal", "bytesDone", "bytesTotal", "bytesPerS")
    return {"phase": record.phase, **dict.fromkeys(counts, 0), **found}


def explanation_document(why: Explanation) -> Document:
    """What an explanation says, without the advice."""
    return {
        "waitsFor": why.waits_for,
        "seen": why.seen,
        "since": _moment(why.since),
        "until": _moment(why.until),
        "then": why.then,
    }


def _precaching(stored: PrecachingStatus | None) -> Document:
    """What is named and counted in the status beside the sums."""
    if stored is None:
        return {}
    return {
        "failuresByClass": stored.failures_by_class,
        "specHash": stored.spec_hash,
        "attempt": stored.attempt or None,
    }


def _tally(row: CguRow) -> Document:
    tally, stored = row.tally, stored_progress(row.cgu)
    finished = stored.finished if stored is not None else None
    return _present(
        {
            "clusters": tally.records,
            "imagesDone": tally.images_done,
            "imagesTotal": tally.images_total,
            "bytesDone": tally.bytes_done,
            "bytesTotal": tally.bytes_total,
            "bytesPerS": tally.bytes_per_s,
            "etaS": tally.eta_s,
            "withoutEstimate": tally.unestimated,
            "finished": {"clusters": 0, **msgspec.to_builtins(finished)} if finished else None,
            "updatedAt": _moment(stored.updated_at) if stored is not None else None,
        }
    )


def _moment(at: dt.datetime | None) -> str | None:
    return moment(at) if at is not None else None


def _present(document: Mapping[str, Any]) -> Document:
    return {key: value for key, value in document.items() if value is not None and value != ""}


def as_text(found: Document | Sequence[Document], form: str) -> str:
    """JSON or YAML; ends with a line break."""
    if form == "yaml":
        return yaml.dump(found, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True)
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"
