"""What keeps an open cluster from getting on, as its transport sees it, and what to do about it.

    Sight.hindrance, Sight.note ──► an entry of `failures` while it waits ──► its end's message
                                └─► advice, by Kubernetes' own words for the cause

Not here: how it is found out (spokes/diagnosis.py, spokes/seen.py, spokes/goingnamespace.py).
"""

from __future__ import annotations

from typing import Final

from talm.api.cgu import PrecachingFailure
from talm.api.words import Hindrance, Phase

from .model import Sight, Snapshot

POD: Final = "the Job's pod"
"""What every sentence about it begins with, so that an end tells of it once."""
REASONS: Final = frozenset(hindrance.value for hindrance in Hindrance)

_ON_SPOKE: Final = "On the spoke: kubectl describe pods in the pre-caching namespace."
# Kubernetes' words for a cause -> what to do; the first that is found counts.
_BY_WORD: Final = (
    (
        "InvalidImageName",
        "The workload's image has a name that no runtime understands: correct the operator's"
        " workload-image, or preCacheImage in the PreCachingConfig.",
    ),
    *(
        (
            word,
            "The node cannot pull the workload's own image. Does a registry that the node reaches"
            " have it, for the node's architecture? Does the node have credentials (the operator's"
            " pull-secrets)? Else correct workload-image, or preCacheImage in the"
            " PreCachingConfig. The kubelet tries again by itself.",
        )
        for word in ("ImagePullBackOff", "ErrImagePull", "ErrImageNeverPull", "RegistryUnavailable")
    ),
    (
        "Unschedulable",
        "No node of the cluster takes the pod; the scheduler says why of each. Make room, or bring a"
        " node back (ready, not cordoned).",
    ),
    (
        "CreateContainerConfigError",
        "The pod names a Secret or ConfigMap that is not in the pre-caching namespace of the spoke."
        f" {_ON_SPOKE}",
    ),
    *(
        (
            word,
            "The node's container runtime cannot start the workload's image: is it the right one,"
            f" for this architecture, and does SELinux let it? {_ON_SPOKE}",
        )
        for word in (
            "CreateContainerError", "RunContainerError", "StartError", "ContainerCannotRun",
            "CreatePodSandboxError",
        )
    ),
    (
        "is refused",
        "A rule of the spoke refuses the pod: it has to be privileged, and to mount directories of the"
        " node. Pod Security has to allow that in the pre-caching namespace, on OpenShift an SCC to"
        " the account pre-cache-agent; a quota or a webhook must let it through. What is seen names"
        " the rule.",
    ),
    (
        "although a pod like it starts",
        f"Something holds the Job's own pod, and not another one like it. {_ON_SPOKE}",
    ),
)  # fmt: skip
_ANY_POD: Final = (
    "Nothing for a minute or two: why is being asked. If it lasts, look yourself. " + _ON_SPOKE
)
_REFUSED: Final = (
    "Mend what the spoke says; it is tried again by itself, at last every 5 min. The agent's words:"
    " kubectl get managedclusteractions,manifestworks -n {cluster} -o yaml"
)


def hindrance(seen: Snapshot, cluster: str, phase: Phase) -> tuple[str, str] | None:
    """Reason and message of what is in the way of an open cluster that has begun; None: nothing is."""
    sight = seen.sights.get(cluster)
    if sight is None or sight.hindrance is None or phase is Phase.NOT_STARTED:
        return None
    return sight.hindrance.value, sight.note


def with_known_cause(why: str, known: PrecachingFailure | None) -> str:
    """The message of an end, with what was known to keep the Job's pod from starting before it.

    The transport tells it, too, while its objects are there; whoever is killed between taking
    them away and storing the end finds it in what was stored before.
    """
    if known is None or known.reason != Hindrance.POD_NOT_READY or POD in why:
        return why
    return f"{why}; {known.message}"


def what_to_do(reason: str, text: str) -> str:
    """What to do about something in the way; "" when the row of the state table says it."""
    if reason == Hindrance.POD_NOT_READY:
        return about_pod(text) or _ANY_POD
    return _REFUSED if reason == Hindrance.REQUEST_REFUSED else ""


def about_pod(text: str) -> str:
    """What to do about the cause in a message; "" when it tells of none."""
    if POD not in text:
        return ""
    cause = text[text.index(POD) :]
    return next((advice for word, advice in _BY_WORD if word in cause), "")


def seen_in_the_way(sight: Sight | None, known: PrecachingFailure | None) -> tuple[str, str] | None:
    """Reason and message as seen now, else as stored; None: nothing is.

    The operator remembers what the hub no longer shows, such as the words of a refusal, and takes the
    entry away with its next pass once it is mended.
    """
    if sight is not None and sight.hindrance is not None:
        return sight.hindrance.value, sight.note
    if known is not None and known.reason in REASONS:
        return known.reason, known.message
    return None
