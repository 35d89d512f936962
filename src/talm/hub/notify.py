"""Kubernetes events of a CGU: reason, action and note as in the existing operator, sent after the store.

So are the annotations that dashboards read: of what an event is (`global`, `batch`, `cluster`) and its
details; an event of one cluster is related to its ManagedCluster.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from talm.api import kinds
from talm.api.cgu import ClusterGroupUpgrade
from talm.api.words import EVENT_TYPE_ANNOTATION
from talm.core.model import EventNote
from talm.kube.events import EventRecorder, Regarding

# The one reason whose events have no type in the existing operator.
UNTYPED: Final = "CguValidationFailure"


class EventNotifier:
    """Hands event notes to the recorder, which never blocks."""

    def __init__(self, recorder: EventRecorder) -> None:
        self._recorder = recorder

    def notify(self, cgu: ClusterGroupUpgrade, notes: Iterable[EventNote]) -> None:
        """Record each note about this CGU."""
        meta = cgu.metadata
        about = Regarding(kinds.CGU, meta.name, meta.namespace, meta.uid)
        for note in notes:
            self._recorder.record(
                about,
                note.reason,
                note.note,
                action=note.action,
                type="Warning" if note.warning else "Normal",
                annotations=_annotations(note),
                related=Regarding(kinds.MANAGED_CLUSTER, note.cluster) if note.cluster else None,
            )


def _annotations(note: EventNote) -> dict[str, str]:
    """The note's own (wire names), which may say `batch`, and the type of an event that does not."""
    if note.reason == UNTYPED:
        return dict(note.annotations)
    return {EVENT_TYPE_ANNOTATION: "cluster" if note.cluster else "global", **note.annotations}
