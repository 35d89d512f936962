"""What a namespace that is being deleted says of what is still in it.

Source of the conditions: Kubernetes' namespace controller.  Pods that end make content remain for half
a minute, which is as it should be; what holds a namespace for ever is a finalizer, or an API that the
spoke announces and does not serve.
"""

from __future__ import annotations

from typing import Final

from talm.api.ocm import ViewedObject
from talm.api.words import Hindrance
from talm.core.model import Fact, Sight
from talm.spokes.podcause import one_line

GOING: Final = "the namespace of an earlier run is being deleted"
_HOLDERS: Final = (
    "NamespaceFinalizersRemaining",
    "NamespaceDeletionDiscoveryFailure",
    "NamespaceDeletionGroupVersionParsingFailure",
    "NamespaceDeletionContentFailure",
)
_CONTENT: Final = "NamespaceContentRemaining"


def going(namespace: ViewedObject) -> Sight:
    """Tell that it is going, and on what it hangs."""
    said = {
        c.type: c.message
        for c in (namespace.status.conditions if namespace.status else None) or ()
        if c.status == "True" and c.message
    }
    holds = [said[kind] for kind in _HOLDERS if kind in said]
    if not holds and _CONTENT not in said:
        return Sight(Fact.LEFTOVERS, GOING)
    text = one_line("; ".join([GOING, *(holds or [said[_CONTENT]])]))
    return Sight(Fact.LEFTOVERS, text, hindrance=Hindrance.NAMESPACE_STUCK if holds else None)
