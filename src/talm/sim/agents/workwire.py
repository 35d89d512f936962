"""ManifestWorks as the simulated work agent reads them, and the status that it writes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from talm.api.kinds import Kind
from talm.api.meta import ObjectMeta, Wire
from talm.sim.agents.wire import Conditions

WORK_FINALIZER: Final = "cluster.open-cluster-management.io/manifest-work-cleanup"
NOT_SYNCED: Final = "NoStatusFeedbackSynced"


class JsonPath(Wire, frozen=True, kw_only=True):
    name: str = ""
    path: str = ""


class FeedbackRule(Wire, frozen=True, kw_only=True):
    type: str = ""
    json_paths: tuple[JsonPath, ...] | None = None


class ConditionRule(Wire, frozen=True, kw_only=True):
    type: str = ""
    condition: str = ""


class ResourceIdentifier(Wire, frozen=True, kw_only=True):
    group: str = ""
    resource: str = ""
    name: str = ""
    namespace: str = ""


class UpdateStrategy(Wire, frozen=True, kw_only=True):
    type: str = "Update"


class Config(Wire, frozen=True, kw_only=True):
    resource_identifier: ResourceIdentifier = ResourceIdentifier()
    update_strategy: UpdateStrategy | None = None
    feedback_rules: tuple[FeedbackRule, ...] | None = None
    feedback_scrape_type: str = ""
    condition_rules: tuple[ConditionRule, ...] | None = None


class Workload(Wire, frozen=True, kw_only=True):
    manifests: tuple[dict[str, Any], ...] | None = None


class WorkSpec(Wire, frozen=True, kw_only=True):
    workload: Workload = Workload()
    manifest_configs: tuple[Config, ...] | None = None


class ManifestStatus(Wire, frozen=True, kw_only=True):
    """One entry of `resourceStatus`; what is not looked into stays as it was."""

    resource_meta: dict[str, Any] = {}
    conditions: Conditions | None = None
    status_feedback: dict[str, Any] = {}


class ResourceStatus(Wire, frozen=True, kw_only=True):
    manifests: tuple[ManifestStatus, ...] | None = None


class WorkStatus(Wire, frozen=True, kw_only=True):
    conditions: Conditions | None = None
    resource_status: ResourceStatus = ResourceStatus()


class Work(Wire, frozen=True, kw_only=True):
    metadata: ObjectMeta
    spec: WorkSpec = WorkSpec()
    status: WorkStatus = WorkStatus()


@dataclasses.dataclass(frozen=True, slots=True)
class Manifest:
    """One manifest with the resource that it is and the rules that are about it."""

    ordinal: int
    kind: Kind
    body: Mapping[str, Any]
    config: Config

    @property
    def name(self) -> str:
        """Its object's name."""
        return str(self.body["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """Its object's namespace, "" for cluster-scoped ones."""
        return str(self.body["metadata"].get("namespace", "")) if self.kind.namespaced else ""

    @property
    def key(self) -> tuple[Kind, str, str]:
        """Which object it is on the spoke."""
        return self.kind, self.namespace, self.name

    @property
    def creates_only(self) -> bool:
        """Whether what is there stays as it is."""
        strategy = self.config.update_strategy
        return strategy is not None and strategy.type == "CreateOnly"

    def meta(self) -> dict[str, Any]:
        """Its `resourceMeta`."""
        kind = self.kind
        return {
            "ordinal": self.ordinal,
            "group": kind.group,
            "version": kind.version,
            "kind": kind.kind,
            "resource": kind.plural,
            "name": self.name,
            "namespace": self.namespace,
        }


def config_of(spec: WorkSpec, kind: Kind, body: Mapping[str, Any]) -> Config:
    """The rules about one manifest."""
    meta = body["metadata"]
    wanted = (kind.group, kind.plural, meta["name"], meta.get("namespace", ""))
    for config in spec.manifest_configs or ():
        about = config.resource_identifier
        if (about.group, about.resource, about.name, about.namespace) == wanted:
            return config
    return Config()


def status_of(work: Work) -> dict[str, Any]:
    """The status as it is stored, to compare and to send."""
    return {
        "conditions": [c.body() for c in work.status.conditions or ()],
        "resourceStatus": {
            "manifests": [
                {
                    "resourceMeta": entry.resource_meta,
                    "conditions": [c.body() for c in entry.conditions or ()],
                    "statusFeedback": entry.status_feedback,
                }
                for entry in work.status.resource_status.manifests or ()
            ]
        },
    }


def with_status(work: Work, conditions: Conditions, manifests: tuple[ManifestStatus, ...]) -> Work:
    """The work with another status."""
    status = WorkStatus(conditions=conditions, resource_status=ResourceStatus(manifests=manifests))
    return msgspec.structs.replace(work, status=status)


def without(config: Config, mutes: frozenset[str]) -> Config:
    """The rules, but nothing is told under these names."""
    if not mutes:
        return config
    rules = tuple(
        msgspec.structs.replace(
            rule, json_paths=tuple(p for p in rule.json_paths or () if p.name not in mutes)
        )
        for rule in config.feedback_rules or ()
    )
    return msgspec.structs.replace(config, feedback_rules=rules)
