"""Kubernetes events of a CGU: reason, action and note as in the existing operator, sent after the store."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from talm.api import kinds
from talm.api.cgu import ClusterGroupUpgrade
from talm.core.model import EventNote
from talm.kube.events import Event, EventRecorder

SCOPE: Final = "cgu.openshift.io/event-type"


class EventNotifier:
    """Hands event notes to the recorder, which never blocks."""

    def __init__(self, recorder: EventRecorder) -> None:
        self._recorder = recorder

    def notify(self, cgu: ClusterGroupUpgrade, notes: Iterable[EventNote]) -> None:
        """Record each note about this CGU."""
        for note in notes:
            scope = "cluster" if note.cluster else "global"
            self._recorder.record(
                Event(
                    regarding_kind=kinds.CGU,
                    regarding=cgu.metadata,
                    reason=note.reason,
                    action=note.action,
                    note=note.note,
                    warning=note.warning,
                    annotations={SCOPE: scope, **note.annotations},
                )
            )
