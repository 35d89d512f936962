"""Kubernetes events of a CGU: reason, action and note as in the existing operator, sent after the store."""

from __future__ import annotations

from collections.abc import Iterable

from talm.api import kinds
from talm.api.cgu import ClusterGroupUpgrade
from talm.core.model import EventNote
from talm.kube.events import EventRecorder, Regarding


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
            )
