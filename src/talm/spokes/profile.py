"""What a workload profile is: which objects, in which order, seen by which views.

A profile is data and functions that return plain dicts; how its rows are carried out is in
effects.py, what is made of the answers in facts.py.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from talm.api.meta import ObjectMeta
from talm.api.pod import Nodes
from talm.api.words import (
    ATTEMPT_ANNOTATION,
    RUN_LABEL,
    SUCCEEDED_ANNOTATION,
    Action,
    View,
)
from talm.spokes import manifests
from talm.spokes.base import Order
from talm.spokes.manifests import Manifest

LEFTOVERS: Final = (Action.NS_DELETE, Action.CRB_DELETE)  # whoever has left them
NODE_DELETES: Final = (Action.NODE_BINDING_DELETE, Action.NODE_READER_DELETE)
DELETES: Final = (*LEFTOVERS, *NODE_DELETES)
# What is taken back when a run ends: all creations, and the deletion of a pod in mid-run.
CREATES: Final = tuple(action for action in Action if action not in DELETES)


@dataclass(frozen=True, slots=True)
class Try:
    """Which try of an action it is; profile talm writes it down from the second one on.

    `succeeded`: it ends a run whose Job has succeeded.  Both profiles write that down: once the Job is
    deleted nothing else tells it, until the cluster's final state is stored.
    """

    number: int = 1
    succeeded: bool = False


FIRST: Final = Try()


@dataclass(frozen=True, slots=True)
class Profile:
    """One way to put a workload on a spoke.

    `setup` is what PREPARE creates, in the order in which an agent carries it out; it holds the Job
    where that is created along with what it needs.  `setup_views` maps the views that prove the setup
    to the actions that make what they ask about; empty: the actions themselves are believed.
    `kube` makes what an action creates.  `job_views` stay while the Job is active, in the order in which
    ASK_JOB creates them.
    `setup_for_all` takes the place of `setup` where every node pulls; empty: the profile cannot.
    `labelled`: everything carries the run, so what does not is of another one.
    `hold_off`: how long a view waits for the action it would otherwise race.
    `diagnoses`: a pod like the Job's may be made, to see why the Job's does not get ready.
    """

    name: str
    labelled: bool
    setup: tuple[Action, ...]
    job_views: tuple[View, ...]
    kube: Callable[[Action, Order, str], Manifest]
    interval_s: Callable[[View, int], int]
    setup_views: Mapping[View, Action] = field(default_factory=dict)
    setup_for_all: tuple[Action, ...] = ()
    hold_off: dt.timedelta = dt.timedelta(0)
    diagnoses: bool = False

    def for_nodes(self, nodes: Nodes) -> Profile:
        """The profile as it is for one node or for all."""
        if nodes is Nodes.ONE or not self.setup_for_all:
            return self
        return replace(self, setup=self.setup_for_all)

    @property
    def reads_nodes(self) -> bool:
        """Whether the setup makes something outside of the namespace, by which nodes are listed."""
        return Action.NODE_READER_CREATE in self.setup

    @property
    def needs(self) -> tuple[Action, ...]:
        """What the Job needs: the setup without the Job."""
        return tuple(action for action in self.setup if action is not Action.JOB_CREATE)

    @property
    def job_in_setup(self) -> bool:
        """Whether PREPARE creates the Job, too."""
        return Action.JOB_CREATE in self.setup

    def is_ours(self, meta: ObjectMeta, run: str) -> bool:
        """Whether an object on the hub is of this run; without labels, present is ours."""
        return not self.labelled or (meta.labels or {}).get(RUN_LABEL) == run

    def action(
        self, action: Action, cluster: str, order: Order, *, namespace: str, attempt: Try = FIRST
    ) -> Manifest:
        """The ManagedClusterAction."""
        if action in DELETES or action is Action.DIAGNOSE_DELETE:
            kind, kube = "Delete", manifests.deletion(action, namespace)
        else:
            kind, kube = "Create", self.kube(action, order, namespace)
        body = self._mark(manifests.action_body(action.value, cluster, kind, kube), order)
        notes = {}
        if self.labelled and attempt.number > 1:
            notes[ATTEMPT_ANNOTATION] = str(attempt.number)
        if attempt.succeeded:
            notes[SUCCEEDED_ANNOTATION] = order.run
        if notes:
            body["metadata"]["annotations"] = notes
        return body

    def view(self, view: View, cluster: str, order: Order, *, namespace: str) -> Manifest:
        """The ManagedClusterView, paced by the number of clusters."""
        interval_s = self.interval_s(view, order.clusters)
        return self._mark(manifests.view_body(view, cluster, namespace, interval_s), order)

    def _mark(self, body: Manifest, order: Order) -> Manifest:
        if self.labelled:
            body["metadata"]["labels"] = manifests.run_labels(order)
        return body
