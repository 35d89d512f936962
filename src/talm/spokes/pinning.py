"""What the hub asks of a cluster for the sake of pins: the right to make them, and their end.

    before the Job is set up   where PinnedImageSets pin: a ClusterRole for the workload's account
    when the CGU is over       that, and the run's PinnedImageSet: deleted
                               other runtimes: a Job in a namespace of its own takes the run's pins
                               from the node, then deletes that namespace, and so itself; where
                               all nodes pull, a DaemonSet does so on each of them

All of it is requested by ManagedClusterActions, and nobody waits for it: no phase depends on an
action's end.  Names carry the run: a request that is repeated finds its action there, and one that is
carried out late, by a cluster that was away, finds nothing of another run to undo.
Requests to the hub for each cluster: 4 at the end, with PinnedImageSets 2 at the setup and 3 at the
end; none where images go to a directory.
Not here: when (core/fleet.py), what becomes of a pin on the node (agent/pins).
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from talm.api import pod
from talm.api.kinds import ACTION, MACHINE_CONFIG_POOL, PINNED_IMAGE_SET
from talm.api.pod import Nodes, StoreKind, image_set_name
from talm.api.words import OWN_NAMESPACE_PREFIX, RUN_LABEL
from talm.core.model import Effect, Sight
from talm.core.removal import Removal
from talm.errors import AlreadyExists
from talm.spokes.base import Order, PodTerms, Transport
from talm.spokes.desk import Hub
from talm.spokes.manifests import (
    ACCOUNT,
    MANAGEMENT,
    Manifest,
    action_body,
    namespaced,
    run_labels,
)
from talm.spokes.own import privileged_namespace
from talm.spokes.ownjob import (
    ATTEMPTS_MORE,
    api_container,
    node_container,
    node_pod,
    store_values,
    variables,
)
from talm.spokes.ownrights import account_of, binding_of, rule
from talm.spokes.ownstore import node_store

UNPIN: Final = "unpin"
_DEADLINE_S: Final = 3600  # its image may have to come over the line again
_KEPT_S: Final = 600  # only where it has failed: else it goes with its namespace
_ITS_ACCOUNT: Final = "default"  # the namespace is made for it alone


class PinningTransport:
    """A `Transport` over another one, which knows nothing of pins.

    `answers`: whether a cluster has the agent that carries actions out.  `namespace` is the
    workload's on every spoke.
    """

    def __init__(
        self,
        transport: Transport,
        hub: Hub,
        *,
        answers: Callable[[str], bool],
        terms: Callable[[str], PodTerms],
        namespace: str,
    ) -> None:
        self._transport = transport
        self._hub = hub
        self._answers = answers
        self._terms = terms
        self._namespace = namespace

    def look(self, cluster: str, order: Order, now: dt.datetime) -> Sight:
        """See Transport."""
        return self._transport.look(cluster, order, now)

    async def carry_out(self, cluster: str, effects: tuple[Effect, ...], order: Order) -> None:
        """See Transport: what the Job needs for its pins is asked for before the Job."""
        if Effect.PREPARE in effects:
            await self._request(cluster, order, self._rights)
        others = tuple(effect for effect in effects if effect is not Effect.UNPIN)
        if others:
            await self._transport.carry_out(cluster, others, order)
        if Effect.UNPIN in effects:
            await self._request(cluster, order, release_actions)

    def removals(
        self, order: Order, now: dt.datetime, asks: Callable[[str], bool]
    ) -> Mapping[str, Removal]:
        """See Transport."""
        return self._transport.removals(order, now, asks)

    def watch(self, on_change: Callable[[str], None]) -> None:
        """See Transport."""
        self._transport.watch(on_change)

    def _rights(self, cluster: str, order: Order) -> list[Manifest]:
        return rights_actions(cluster, order, self._namespace)

    async def _request(
        self, cluster: str, order: Order, actions: Callable[[str, Order], Sequence[Manifest]]
    ) -> None:
        """Create the actions; one that is there was requested before."""
        if not self._answers(cluster):
            return
        pod = replace(self._terms(cluster), nodes=order.pod.nodes)
        for body in actions(cluster, replace(order, pod=pod)):
            with contextlib.suppress(AlreadyExists):
                await self._hub.create(ACTION, body)


def rights_actions(cluster: str, order: Order, namespace: str) -> list[Manifest]:
    """The actions that let the workload's account in `namespace` make PinnedImageSets."""
    if not order.pod.image_sets:
        return []
    return [
        _creates(cluster, order, "pin-1-role", _image_set_role(order)),
        _creates(cluster, order, "pin-2-binding", _image_set_binding(order, namespace)),
    ]


def release_actions(cluster: str, order: Order) -> list[Manifest]:
    """The actions that end the run's pins; their names sort in the order of carrying them out.

    An agent that restarts takes what waits by its name.
    """
    if order.pod.store is StoreKind.OCI_LAYOUT:
        return []
    if order.pod.image_sets:
        sets = f"{PINNED_IMAGE_SET.plural}.{PINNED_IMAGE_SET.version}.{PINNED_IMAGE_SET.group}"
        return [
            _deletes(cluster, order, "unpin-1-binding", "clusterrolebinding", rights_name(order)),
            _deletes(cluster, order, "unpin-2-role", "clusterrole", rights_name(order)),
            _deletes(cluster, order, "unpin-3-set", sets, image_set_name(order.run)),
        ]
    namespace = unpin_namespace(order.run)
    return [
        _creates(cluster, order, "unpin-1-namespace", privileged_namespace(namespace)),
        _creates(cluster, order, "unpin-2-role", _unpin_role(namespace)),
        _creates(cluster, order, "unpin-3-binding", _unpin_binding(namespace)),
        _creates(cluster, order, "unpin-4-pods", _unpinning(order, namespace)),
    ]


def _unpinning(order: Order, namespace: str) -> Manifest:
    make = unpin_daemon_set if order.pod.nodes is Nodes.ALL else unpin_job
    return make(order, namespace)


def unpin_namespace(run: str) -> str:
    """The namespace on a spoke in which a run's pins are taken back."""
    return f"{OWN_NAMESPACE_PREFIX}unpin-{run}"


def rights_name(order: Order) -> str:
    """The ClusterRole by which a run makes its PinnedImageSet, and its binding."""
    return f"talm-pre-cache-pins-{order.run}"


def unpin_job(order: Order, namespace: str) -> Manifest:
    """The Job that takes the run's pins back; its pod sees of the node what the workload's does."""
    store = node_store(order.pod)
    values = store_values(order, store) | {pod.LAST_OF_ENV: namespace}
    container = node_container(order, store, "unpin", variables(values))
    body = namespaced("batch/v1", "Job", UNPIN, namespace)
    body["metadata"]["annotations"] = dict(MANAGEMENT)
    body["spec"] = {
        "activeDeadlineSeconds": _DEADLINE_S,
        "backoffLimit": ATTEMPTS_MORE,
        "ttlSecondsAfterFinished": _KEPT_S,
        "template": {
            "metadata": {"labels": run_labels(order), "annotations": dict(MANAGEMENT)},
            "spec": node_pod(order, store, container) | {"serviceAccountName": _ITS_ACCOUNT},
        },
    }
    return body


def unpin_daemon_set(order: Order, namespace: str) -> Manifest:
    """The same on every node: a pod is ready once it has unpinned, and leaves when all are."""
    store = node_store(order.pod)
    first = node_container(order, store, "unpin", variables(store_values(order, store)))
    values = {pod.LAST_OF_ENV: namespace, pod.DAEMON_SET_ENV: UNPIN}
    last = api_container(order, "leave", variables(values))
    spec = node_pod(order, store, last) | {
        "initContainers": [first | {"name": UNPIN}],
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "restartPolicy": "Always",
        "serviceAccountName": _ITS_ACCOUNT,
        "terminationGracePeriodSeconds": 2,  # who waits for the others has nothing to finish
    }
    body = namespaced("apps/v1", "DaemonSet", UNPIN, namespace)
    body["spec"] = {
        "selector": {"matchLabels": {RUN_LABEL: order.run}},
        "template": {
            "metadata": {"labels": run_labels(order), "annotations": dict(MANAGEMENT)},
            "spec": spec,
        },
    }
    return body


def _image_set_role(order: Order) -> Manifest:
    """Names cannot be given: those of earlier runs, which go, are not known, and a list has none."""
    group = PINNED_IMAGE_SET.group
    body = namespaced("rbac.authorization.k8s.io/v1", "ClusterRole", rights_name(order), "")
    return body | {
        "rules": [
            rule(group, PINNED_IMAGE_SET.plural, "create", "delete", "list", "patch"),
            rule(group, MACHINE_CONFIG_POOL.plural, "list"),
        ]
    }


def _image_set_binding(order: Order, namespace: str) -> Manifest:
    name = rights_name(order)
    body = namespaced("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", name, "")
    return body | binding_of("ClusterRole", name, account_of(ACCOUNT, namespace))


def _unpin_role(namespace: str) -> Manifest:
    """What the account may do: delete its own namespace, and use the node's directories.

    A request for a namespace is authorized in that namespace, so that a Role in it can allow it.
    """
    body = namespaced("rbac.authorization.k8s.io/v1", "Role", UNPIN, namespace)
    return body | {
        "rules": [
            rule("", "namespaces", "delete", names=(namespace,)),
            rule("apps", "daemonsets", "get", names=(UNPIN,)),
            rule(
                "security.openshift.io", "securitycontextconstraints", "use", names=("privileged",)
            ),
        ]
    }


def _unpin_binding(namespace: str) -> Manifest:
    body = namespaced("rbac.authorization.k8s.io/v1", "RoleBinding", UNPIN, namespace)
    return body | binding_of("Role", UNPIN, account_of(_ITS_ACCOUNT, namespace))


def _creates(cluster: str, order: Order, name: str, template: Manifest) -> Manifest:
    template["metadata"].setdefault("labels", {}).update(run_labels(order))
    resource = template["kind"].lower()
    return _action(cluster, order, name, "Create", {"resource": resource, "template": template})


def _deletes(cluster: str, order: Order, name: str, resource: str, target: str) -> Manifest:
    return _action(cluster, order, name, "Delete", {"resource": resource, "name": target})


def _action(cluster: str, order: Order, name: str, kind: str, kube: Manifest) -> Manifest:
    body = action_body(f"pre-cache-{order.run}-{name}", cluster, kind, kube)
    body["metadata"]["labels"] = run_labels(order)
    return body
