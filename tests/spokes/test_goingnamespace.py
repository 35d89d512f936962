"""What a namespace that is being deleted says of what holds it."""

from __future__ import annotations

import msgspec

from talm.api.ocm import ViewedObject
from talm.api.words import Hindrance
from talm.core.model import Fact, Sight
from talm.sim.spoke.spokenamespaces import finishing
from talm.spokes.goingnamespace import GOING, going

STAMP = "2026-07-01T12:00:00Z"


def seen(status: object) -> Sight:
    return going(msgspec.convert({"status": status}, ViewedObject))


def test_a_namespace_that_gets_on_hinders_nobody() -> None:
    assert seen(finishing(STAMP, pods=False)) == Sight(Fact.LEFTOVERS, GOING)
    assert seen(None) == Sight(Fact.LEFTOVERS, GOING)


def test_pods_that_end_are_told_and_hinder_nobody() -> None:
    sight = seen(finishing(STAMP, pods=True))
    assert sight.hindrance is None
    assert sight.note == (f"{GOING}; Some resources are remaining: pods. has 1 resource instances")


def test_a_finalizer_is_named_as_what_it_hangs_on() -> None:
    sight = seen(finishing(STAMP, pods=False, stuck=True))
    assert sight.hindrance is Hindrance.NAMESPACE_STUCK
    assert sight.note == (
        f"{GOING}; Some content in the namespace has finalizers remaining: example.com/hold in 1"
        " resource instances"
    )


def test_an_api_that_is_announced_and_not_served_is_named() -> None:
    text = "Discovery failed for some groups, 1 failing: metrics.k8s.io/v1beta1: stale GroupVersion"
    failed = {"type": "NamespaceDeletionDiscoveryFailure", "status": "True", "message": text}
    sight = seen({"conditions": [failed]})
    assert (sight.hindrance, sight.note) == (Hindrance.NAMESPACE_STUCK, f"{GOING}; {text}")
