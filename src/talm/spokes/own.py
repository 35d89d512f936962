"""Profile `talm`: our own workload with the least it needs on a spoke.

An account with what it may do (ownrights.py); the specification; a ConfigMap for the record; the Job
(ownjob.py), which where every node pulls coordinates one for each (ownnodes.py).  Everything carries
the run's labels.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Mapping
from typing import Final

from talm.api.pod import Nodes
from talm.api.progress import PROGRESS_CONFIG_MAP
from talm.api.words import Action, View
from talm.errors import Bug
from talm.spokes import ownrights
from talm.spokes.base import Order
from talm.spokes.diagnosispod import diagnosis_pod
from talm.spokes.manifests import (
    ACCOUNT,
    SPEC_CONFIG_MAP,
    Manifest,
    namespaced,
    run_labels,
    spec_data,
)
from talm.spokes.ownjob import job
from talm.spokes.ownnodes import coordinating_job
from talm.spokes.profile import Profile

_PSA_MODES: Final = ("enforce", "audit", "warn")
_STARTS_KEY: Final = "operators.startingCSVs"
_READS_PER_S: Final = 50
_SHORTEST_S: Final = 2
_LONGEST_S: Final = 300


def view_interval(view: View, clusters: int) -> int:
    """Seconds between two reads of one view.

    Every read is a status PUT on the hub.  The views of one name are read at most 50 times a second
    over all clusters: clusters / 50 s.  At least 2 s, since one cluster's read costs the hub some
    milliseconds and no person sees the difference; at most 300 s, reached at 15,000 clusters.  Of the
    node reader it only matters that there is a view.
    """
    if view is View.NODE_READER:
        return _LONGEST_S
    return min(max(_SHORTEST_S, math.ceil(clusters / _READS_PER_S)), _LONGEST_S)


def _kube(action: Action, order: Order, namespace: str) -> Manifest:
    known = {**_MAKERS, **_MADE_LATER}
    if action not in known:
        raise Bug(f"profile talm knows no action {action}")
    resource, make = known[action]
    template = make(order, namespace)
    template["metadata"].setdefault("labels", {}).update(run_labels(order))
    return {"resource": resource, "template": template}


def _namespace(_: Order, namespace: str) -> Manifest:
    return privileged_namespace(namespace)


def privileged_namespace(namespace: str) -> Manifest:
    """A namespace in which pods may mount directories of the node."""
    body = namespaced("v1", "Namespace", namespace, "")
    body["metadata"] |= {
        "annotations": {
            "workload.openshift.io/allowed": "management",
            "openshift.io/node-selector": "",  # a cluster-wide default must not keep the pod away
        },
        # Every stricter level forbids the node's directories.
        "labels": {
            **{f"pod-security.kubernetes.io/{mode}": "privileged" for mode in _PSA_MODES},
            "security.openshift.io/scc.podSecurityLabelSync": "false",  # or it is overwritten
        },
    }
    return body


def _account(_: Order, namespace: str) -> Manifest:
    return namespaced("v1", "ServiceAccount", ACCOUNT, namespace)


def _spec(order: Order, namespace: str) -> Manifest:
    """A seventh key where operators have a start: the existing workload knows none."""
    data = spec_data(order.spec)
    if order.spec.operators_starting_csvs:
        data[_STARTS_KEY] = "\n".join(order.spec.operators_starting_csvs)
    return namespaced("v1", "ConfigMap", SPEC_CONFIG_MAP, namespace) | {"data": data}


def _progress(_: Order, namespace: str) -> Manifest:
    """Empty: the workload may patch it, and create nothing."""
    return namespaced("v1", "ConfigMap", PROGRESS_CONFIG_MAP, namespace)


def _job(order: Order, namespace: str) -> Manifest:
    make = coordinating_job if order.pod.nodes is Nodes.ALL else job
    return make(order, namespace)


def _diagnosis(order: Order, namespace: str) -> Manifest:
    return diagnosis_pod(_job(order, namespace), namespace)


_MAKERS: Final[Mapping[Action, tuple[str, Callable[[Order, str], Manifest]]]] = {
    Action.NS_CREATE: ("namespace", _namespace),
    Action.SA_CREATE: ("serviceaccount", _account),
    Action.ROLE_CREATE: ("role", ownrights.role),
    Action.ROLE_BINDING_CREATE: ("rolebinding", ownrights.role_binding),
    Action.NODE_READER_CREATE: ("clusterrole", ownrights.node_reader_role),
    Action.NODE_BINDING_CREATE: ("clusterrolebinding", ownrights.node_reader_binding),
    Action.SPEC_CREATE: ("configmap", _spec),
    Action.PROGRESS_CREATE: ("configmap", _progress),
    Action.JOB_CREATE: ("job", _job),
}
# No part of the setup.
_MADE_LATER: Final = {Action.DIAGNOSE_CREATE: ("pod", _diagnosis)}
_FOR_ALL: Final = (Action.NODE_READER_CREATE, Action.NODE_BINDING_CREATE)

TALM: Final = Profile(
    name="talm",
    labelled=True,
    # An agent carries them out in this order.
    setup=tuple(action for action in _MAKERS if action not in _FOR_ALL),
    setup_for_all=tuple(_MAKERS),
    # Progress first: where it is asked about and the Job is not, the setup was through.
    job_views=(View.PROGRESS, View.JOB),
    kube=_kube,
    interval_s=view_interval,
    # The action agent is serial and takes 20-50 ms an action; all of them fit well.
    hold_off=dt.timedelta(seconds=2),
    diagnoses=True,
)
