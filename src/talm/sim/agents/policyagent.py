"""The spoke's side of policies: evaluates the child policies of one cluster and reports.

Stands for the policy framework add-on and the configuration policy controller.  Whether a
cluster complies from the start, and how long enforcing takes, is a scenario's choice; what was
remediated stays so, also when the policy goes back to inform.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from talm.api import kinds
from talm.sim.agents.base import Agent, Post
from talm.sim.clock import format_time
from talm.sim.hubside.policywire import COMPLIANT, NON_COMPLIANT, Policy


@dataclasses.dataclass(frozen=True, slots=True)
class PolicyPlan:
    """How one policy fares on one cluster; None: enforcing never succeeds.

    `compliant_templates`: what is true of these from the start, though not of the policy.
    """

    compliant: bool = False
    remediation_s: float | None = 5.0
    compliant_templates: frozenset[str] = frozenset()


PolicyScenario: TypeAlias = Callable[[str, str], PolicyPlan]
"""(cluster, root policy as `namespace.name`) -> plan"""

EVALUATION_S: Final = 0.5
_TEXT: Final = {
    COMPLIANT: "Compliant; notification - {name} found as specified",
    NON_COMPLIANT: "NonCompliant; violation - {name} found but not as specified",
}


def not_yet_compliant(_cluster: str, _policy: str) -> PolicyPlan:
    """The plainest scenario: every policy has something to remediate and can be."""
    return PolicyPlan()


class PolicyAgent(Agent[Policy]):
    """One spoke's policy controllers; its cache are the cluster's child policies."""

    def __init__(
        self,
        post: Post,
        *,
        scenario: PolicyScenario = not_yet_compliant,
        evaluation_s: float = EVALUATION_S,
    ) -> None:
        super().__init__(post, name="policies")
        self.compliant: dict[str, bool] = {}
        """What is true on the spoke, by child's name; survives policy and process."""
        self.silent = False
        """Nothing is reported: the children stay without `compliant`."""
        self._scenario = scenario
        self._evaluation_s = evaluation_s
        self._ready_at: dict[str, float] = {}
        self._enforced_at: dict[str, float] = {}
        self._told: dict[str, Sequence[str]] = {}

    def spoil(self, name: str) -> None:
        """Somebody changes what a policy is about on the cluster: the child `name` is violated now."""
        self.compliant[name] = False
        self.queue.add(name)

    def crash(self) -> None:
        """See Agent; remediation in progress begins anew."""
        super().crash()
        self._ready_at.clear()
        self._enforced_at.clear()

    async def reconcile(self, name: str) -> float | None:
        """Evaluate one child policy and report when its compliance is news."""
        child = self.cache.get(name)
        if child is None:
            self._ready_at.pop(name, None)
            self._enforced_at.pop(name, None)
            self._told.pop(name, None)
            return None
        now_s = self.post.clock.now().timestamp()
        ready_s = self._ready_at.setdefault(name, now_s + self._real(self._evaluation_s))
        if now_s < ready_s:
            return ready_s - now_s
        spec = child.open_spec()
        again_s = self._remediate(name, spec, now_s)
        await self._report(child, spec)
        return again_s

    def _remediate(self, name: str, spec: Mapping[str, Any], now_s: float) -> float | None:
        """Bring `compliant` up to date; returns seconds until it may change."""
        plan = self._scenario(self.post.cluster, name)
        if self.compliant.setdefault(name, plan.compliant):
            return None
        if str(spec.get("remediationAction", "")).lower() != "enforce":
            self._enforced_at.pop(name, None)
            return None
        if plan.remediation_s is None:
            return None
        since_s = self._enforced_at.setdefault(name, now_s)
        left_s = since_s + self._real(plan.remediation_s) - now_s
        if left_s > 0:
            return left_s
        self.compliant[name] = True
        return None

    def _real(self, seconds: float) -> float:
        return self.post.clock.real(seconds)

    async def _report(self, child: Policy, spec: Mapping[str, Any]) -> None:
        meta = child.metadata
        verdict = COMPLIANT if self.compliant[meta.name] else NON_COMPLIANT
        names = template_names(spec)
        known = self._told.get(meta.name, names)
        if self.silent or (child.status.compliant == verdict and known == names):
            return
        self._told[meta.name] = names
        fine = self._scenario(self.post.cluster, meta.name).compliant_templates
        now = format_time(self.post.clock.now())
        details = [_detail(n, COMPLIANT if n in fine else verdict, now) for n in names]
        patch = {"status": {"compliant": verdict, "details": details}}
        await self.post.link.call(
            lambda: self.post.hub.merge_patch(
                kinds.POLICY, meta.name, patch, meta.namespace, subresource="status"
            )
        )


def template_names(spec: Mapping[str, Any]) -> Sequence[str]:
    """The names of a policy's templates, in order."""
    names = []
    for template in spec.get("policy-templates") or ():
        definition = template.get("objectDefinition") or {}
        names.append(str((definition.get("metadata") or {}).get("name", "")))
    return names


def _detail(name: str, verdict: str, stamp: str) -> Mapping[str, Any]:
    entry = {
        "lastTimestamp": stamp,
        "message": _TEXT[verdict].format(name=name),
        "eventName": f"{name}.1",
    }
    return {"templateMeta": {"name": name}, "compliant": verdict, "history": [entry]}
