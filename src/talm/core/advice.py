"""What a person can do about what is seen: tables of sentences, by row, reason, and cause.

Here: the advice alone, which `explain.py` looks up.  Not here: what is seen and whom it waits for; that
is the state table's (`precache.py`), the conditions' (`conditions.py`) and the report's.
`{cgu}`, `{namespace}` (the CGU's) and `{cluster}` are filled in by `explain.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from talm.api.progress import FailureClass
from talm.api.words import Phase, Reason

from . import precache, report
from .due import Voice
from .hindrances import about_pod
from .model import Fact

NOTHING: Final = "Nothing."
OPERATOR: Final = (
    "Nothing: the operator does this with its next pass, within seconds. If it stands for minutes, is the"
    " operator at work? kubectl logs -n talm-system deployment/talm-operator --all-pods --tail 50"
)
AGENT: Final = (
    "Nothing while the line may be down. If it lasts: is the cluster's agent alive?"
    " kubectl get managedclusteraddons -n {cluster} work-manager"
)
ACTIONS: Final = "kubectl get managedclusteractions -n {cluster} -o yaml"

# By the words of the table for whoever is waited for.
BY_PARTY: Final[Mapping[str, str]] = {
    precache.VIEW_AGENT: AGENT,
    precache.ACTION_AGENT: (
        f"Nothing for a minute. An action that is older and has no status was not heard by the cluster's"
        f" agent: {ACTIONS}"
    ),
    precache.DELETION: (
        "Nothing for a minute. If it lasts, something on the spoke holds the namespace, mostly a"
        " finalizer; what is seen names it. Remove its cause there, and this goes on by itself."
    ),
    precache.JOB_CONTROLLER: (
        "Nothing for a minute. If it lasts, the pod cannot start: on the spoke, kubectl describe pods in"
        " the pre-caching namespace says why (the workload's image, a taint, an admission webhook)."
    ),
    precache.JOB: (
        "Nothing: the images are being brought. How far it is:"
        " talm logs -n {namespace} {cgu} --cluster {cluster}"
    ),
}

# Rows that ask for something: what is odd about them, beside that the operator is to do it.
BY_FACT: Final[Mapping[Fact, str]] = {
    Fact.LEFTOVERS_KEPT: (
        "Nothing: the deletion is repeated, after 5 s at first and at last every 5 min. If it keeps"
        f" failing, the action has the agent's words: {ACTIONS}"
    ),
    Fact.SETUP_LOST: (
        "Nothing: it is tried again, after 5 s at first and at last every 5 min. If it keeps failing,"
        f" mend what the agent says: {ACTIONS}"
    ),
    Fact.JOB_MISSING: (
        "Nothing: the Job is created again. If this repeats, somebody on the spoke deletes it."
    ),
    Fact.JOB_OTHER: (
        "Nothing: what another run has left there is removed first. If this repeats, a second operator"
        " works on this cluster."
    ),
}


def for_row(phase: Phase, fact: Fact) -> str:
    """What to do about a cluster of which this is remembered and that is seen.

    Raises `precache.ImpossibleFact` for a pair that is no row.
    """
    step = precache.advance(phase, fact)
    if fact is Fact.JOB_PENDING and phase is not Phase.NOT_STARTED:
        return BY_PARTY[precache.JOB_CONTROLLER]  # also after a pod was lost
    if step.waits_for:
        return BY_PARTY[step.waits_for]
    return BY_FACT.get(fact, OPERATOR) if phase is not Phase.NOT_STARTED else OPERATOR


# ---- a CGU as a whole --------------------------------------------------------------------------------

BY_REASON: Final[Mapping[str, str]] = {
    Reason.CLUSTER_NOT_FOUND: (
        "Correct the selection in the spec: kubectl get managedclusters has the names. One unknown name"
        " holds all."
    ),
    Reason.NOT_ALL_MANAGED_POLICIES_EXIST: (
        "A managed policy counts when a cluster of the CGU has it: kubectl get policies -n CLUSTER shows"
        " NAMESPACE.NAME. Correct the name, create the policy, or let its Placement select the clusters"
        " (with tolerations for unreachable ones)."
    ),
    Reason.AMBIGUOUS_POLICY_NAMES: (
        "Policies are named without namespaces: rename one, or take it off these clusters."
    ),
    Reason.INVALID_PLATFORM_IMAGE: (
        "Mend the ClusterVersion in the managed policies as the message says, or the way to the update"
        " graph."
    ),
    Reason.UNRESOLVABLE_DEPENDENCY: "Order managedPolicies so that each comes after what it needs.",
    Reason.UNSUPPORTED: "Take out of the spec what the message names.",
    Reason.SPEC_INCOMPLETE: (
        "Mend what the message says in the policies, the PreCachingConfig or the ConfigMap"
        " cluster-group-upgrade-overrides. It is noticed by itself."
    ),
    Reason.NOT_ENABLED: (
        "Nothing until the maintenance window opens. Then: kubectl patch cgu -n {namespace} {cgu}"
        """ --type merge -p '{"spec":{"enable":true}}'"""
    ),
    Reason.MISSING_BLOCKING_CR: "Create that CGU, or take it out of blockingCRs.",
    Reason.INCOMPLETE_BLOCKING_CR: "Wait for it, or see why it does not end: talm explain NAME",
    Reason.WAITING_FOR_PLACEMENT: "As the message says.",
}
ANY_CONDITION: Final = "Mend what the message says. It is noticed by itself."
UNSEEN: Final = (
    "No operator has seen this object. Is one at work? kubectl get lease -A talm-operator;"
    " kubectl get pods -n talm-system"
)
DELETING: Final = (
    "Nothing for some seconds: the operator takes away what is left on the clusters. If it stands, is"
    " the operator at work? kubectl get pods -n talm-system"
)
PRECACHING: Final = (
    "Nothing while clusters get on. One that does not:"
    " talm explain -n {namespace} {cgu} --cluster NAME"
)
UPDATING: Final = (
    "Nothing while the time lasts. What hangs: kubectl get policies -n CLUSTER,"
    " and the policy on the spoke."
)
VERIFYING: Final = (
    "Nothing while clusters get on: then their batch begins. One that does not:"
    " talm explain -n {namespace} {cgu} --cluster NAME"
)
COMPLETED: Final = NOTHING
ENDED_BADLY: Final = (
    "Mend the cause, then create a new CGU for the clusters that are left:"
    " what was downloaded is kept."
)

# ---- one cluster that failed or is kept waiting -------------------------------------------------------

BY_CAUSE: Final[Mapping[str, str]] = {
    report.OTHER_CGU: "Nothing: it is its turn when the older CGU has ended there. Or delete that one.",
    report.SPEC_CHANGED: "Nothing: when those have ended, all clusters get what is wanted now.",
    report.SPEC_UNKNOWN: (
        "Mend what is named (a policy, the PreCachingConfig, the update graph): then it goes on by itself."
    ),
    report.UNAVAILABLE: (
        "Nothing on the hub: it goes on by itself when the cluster is back."
        " kubectl get managedcluster {cluster}"
    ),
    report.SILENT: "Nothing on the hub: it goes on by itself when it is heard again.",
    report.EFFECT_FAILED: (
        "Nothing: it is tried again. A 403 means that the operator's role is not the one of deploy/rbac."
    ),
    report.REMOVAL_FAILED: (
        "Nothing at first: the images are there, and what is left removed with more tries, after 5 s at"
        " first and at last every 5 min. What stays for good goes when the cluster is pre-cached again."
    ),
    report.UNEXPECTED: "Nothing: it goes on, at the latest by its deadline. Please report it.",
}

# Whom a silence is of, by the words of the status for it.
BY_VOICE: Final[Mapping[Voice, str]] = {
    Voice.WORKLOAD: (
        "Nothing on the hub: it goes on by itself when it is heard again. The line, the agent that carries"
        " the record, or the workload's node is away: kubectl get managedcluster {cluster}; on the spoke,"
        " kubectl get pods in the pre-caching namespace."
    ),
    Voice.WORK_AGENT: (
        "Nothing on the hub: it goes on by itself when it is heard again. On the spoke, is the klusterlet"
        " at work? kubectl get pods -n open-cluster-management-agent"
    ),
    Voice.VIEW_AGENT: (
        "Nothing on the hub: it goes on by itself when it is heard again. Is the add-on at work?"
        " kubectl get managedclusteraddons -n {cluster} work-manager; on the spoke,"
        " kubectl get pods -n open-cluster-management-agent-addon"
    ),
    Voice.ADD_ON: (
        "Nothing on the hub: it goes on by itself when the add-on is back."
        " kubectl get managedclusteraddons -n {cluster} work-manager -o yaml; on the spoke,"
        " kubectl get pods -n open-cluster-management-agent-addon"
    ),
}

NEW_CGU: Final = "Then create a new CGU for this cluster: what was downloaded is kept."
# The workload's classes of failure; the class is the first word of its message.
BY_CLASS: Final[Mapping[str, str]] = {
    FailureClass.INVALID_SPEC: (
        "Mend what is named: a line of the specification (policies, PreCachingConfig) or of a file of"
        f" the node. {NEW_CGU}"
    ),
    FailureClass.RELEASE_UNREADABLE: (
        f"Is the release complete in the registry, and in its mirrors? {NEW_CGU}"
    ),
    FailureClass.CATALOG_UNREADABLE: f"Is this image a catalog of operators? {NEW_CGU}",
    FailureClass.PACKAGE_NOT_FOUND: (
        f"Is this the catalog that has the operator, and the channel? {NEW_CGU}"
    ),
    FailureClass.IMAGE_NOT_FOUND: (
        f"The registry does not have the image: mirror it, or exclude it. {NEW_CGU}"
    ),
    FailureClass.UNAUTHORIZED: (
        "The registry asks for credentials that the node's pull secret does not have, or"
        f" registries.conf blocks it. {NEW_CGU}"
    ),
    FailureClass.REGISTRY_UNREACHABLE: (
        "Name, certificate, proxy or line between the spoke and its registry; each mirror that was"
        f" asked is in the message. {NEW_CGU}"
    ),
    FailureClass.INSUFFICIENT_SPACE: (
        "Make room on the node (talm agent clean drops what failed runs left), or lower what is to be"
        f" cached or spaceRequired in a PreCachingConfig. {NEW_CGU}"
    ),
    FailureClass.STORE_FAILED: f"The node's disk or container runtime refused it. {NEW_CGU}",
    FailureClass.PARTLY_CACHED: (
        "Create a new CGU for this cluster: it goes on where this one stopped. Give it more time"
        " (remediationStrategy.timeout) or a faster line."
    ),
    FailureClass.INTERRUPTED: (
        f"The pod was ended from outside (a reboot, an eviction). {NEW_CGU}"
    ),
}
_BY_TEXT: Final = (
    ("DeadlineExceeded", BY_CLASS[FailureClass.PARTLY_CACHED]),
    (
        "no end of the Job was seen",
        "The spoke has stopped telling: is the cluster's agent alive?"
        f" kubectl get managedclusteraddons -n {{cluster}} work-manager. {NEW_CGU}",
    ),
    (
        "no answer",
        "The cluster's agent does not answer although the hub counts the cluster as available:"
        f" kubectl get managedclusteraddons -n {{cluster}} work-manager. {NEW_CGU}",
    ),
    (
        "namespace of an earlier run",
        "Something on the spoke keeps the pre-caching namespace from going, mostly a finalizer."
        f" Remove its cause. {NEW_CGU}",
    ),
    (
        "has been silent since",
        "Bring back what is silent; kubectl get managedcluster {cluster} says what the hub knows of it."
        f" {NEW_CGU}",
    ),
    ("unavailable since", f"Bring the cluster back. {NEW_CGU}"),
    (
        "BackoffLimitExceeded",
        "All attempts ended with errors that might have passed; the pod's last words are on the spoke"
        f" until this CGU ends. {NEW_CGU}",
    ),
)
_WORD: Final = re.compile(r"[A-Za-z]+")


def for_failure(reason: str, message: str) -> str:
    """What to do about an entry of `failures`: by its reason, the workload's class, or its words."""
    if reason == report.SILENT:
        said = (do for voice, do in BY_VOICE.items() if voice.value in message)
        return next(said, BY_CAUSE[reason])
    if reason in BY_CAUSE:
        return BY_CAUSE[reason]
    if told := about_pod(message):
        return f"{told} {NEW_CGU}"
    for word in _WORD.findall(message):
        if word in BY_CLASS:
            return BY_CLASS[word]
    found = (text for fragment, text in _BY_TEXT if fragment in message)
    return next(found, f"Look at what is said, and mend the cause. {NEW_CGU}")
