"""Policies and bindings as the hub's propagator and the spokes' controllers read them."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from talm.api.meta import ObjectMeta, Wire

GROUP: Final = "policy.open-cluster-management.io"
ROOT_LABEL: Final = f"{GROUP}/root-policy"
CLUSTER_LABEL: Final = f"{GROUP}/cluster-name"
NAMESPACE_LABEL: Final = f"{GROUP}/cluster-namespace"
COMPLIANT: Final = "Compliant"
NON_COMPLIANT: Final = "NonCompliant"


class PolicyStatus(Wire, frozen=True, kw_only=True):
    """Of a root or a child; `status` and `placement` are the root's."""

    compliant: str = ""
    status: list[dict[str, str]] | None = None
    placement: list[dict[str, str]] | None = None


class Policy(Wire, frozen=True, kw_only=True):
    """Root or child; the spec is opened only when it is needed."""

    metadata: ObjectMeta
    spec: msgspec.Raw = msgspec.Raw(b"{}")
    status: PolicyStatus = PolicyStatus()

    def open_spec(self) -> dict[str, Any]:
        """The spec, decoded."""
        spec = msgspec.json.decode(self.spec)
        return spec if isinstance(spec, dict) else {}


def own_bytes(policy: Policy) -> Policy:
    """Cut a policy loose from the watch's buffer that it was decoded from."""
    return msgspec.structs.replace(policy, spec=policy.spec.copy())


class Ref(Wire, frozen=True, kw_only=True):
    api_group: str = ""
    kind: str = ""
    name: str = ""


class Overrides(Wire, frozen=True, kw_only=True):
    remediation_action: str = ""


class Binding(Wire, frozen=True, kw_only=True):
    """A PlacementBinding."""

    metadata: ObjectMeta
    placement_ref: Ref = Ref()
    subjects: tuple[Ref, ...] = ()
    sub_filter: str = ""
    binding_overrides: Overrides = Overrides()

    @property
    def restricted(self) -> bool:
        """It never selects a cluster by itself."""
        return self.sub_filter == "restricted"

    @property
    def enforces(self) -> bool:
        """It makes the policy enforced where it applies."""
        return self.binding_overrides.remediation_action.lower() == "enforce"

    def is_about(self, policy: str) -> bool:
        """The policy of this name is one of its subjects."""
        return any(s.kind == "Policy" and s.name == policy for s in self.subjects)
