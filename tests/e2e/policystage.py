"""One root policy that is watched: a hand on hub and clusters, and what its user can see, as text.

What a policy finds on a cluster is a scenario's choice in the simulator: of a message no more is written
down than the state that it tells, and objects of the clusters not at all.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from talm.api import kinds
from talm.api.words import CLUSTER_NAME_LABEL
from talm.errors import NotFound

from .lane import Place

PATIENCE_S: Final = 120.0
LOOK_AGAIN_S: Final = 0.1
STILL_S: Final = 2.0
"""What has not changed for so long is what has come of it."""

POLICY: Final = "policy"
_MASKED: Final = frozenset({"creationTimestamp", "lastTimestamp", "eventName"})

Object = Mapping[str, Any]
Spoil = Callable[[str, str], Awaitable[None]]


class Never(AssertionError):
    """What a row waits for does not come."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The hub's objects as they are: the root, None when it is gone, and its children by cluster."""

    root: Object | None
    children: Mapping[str, Object]

    @property
    def compliant(self) -> str:
        """What the root says of all clusters."""
        return str(_status(self.root).get("compliant", ""))

    def of(self, cluster: str) -> str | None:
        """What the root says of one; "" when it does not know, None when it is not listed."""
        entries = _status(self.root).get("status") or ()
        found = [e.get("compliant", "") for e in entries if e["clustername"] == cluster]
        return found[0] if found else None

    def action(self, cluster: str) -> str:
        """What the child has the cluster do."""
        child = self.children.get(cluster)
        return str(child["spec"].get("remediationAction", "")) if child else ""

    def facts(self) -> dict[str, str]:
        """All of it, but times and messages."""
        root = _status(self.root).items()
        told = {f"root {key}": _json(value) for key, value in sorted(root)}
        told["root"] = "is there" if self.root else "is gone"
        for cluster, child in sorted(self.children.items()):
            meta = child["metadata"]
            told[f"{cluster} labels"] = _json(meta.get("labels"))
            told[f"{cluster} annotations"] = _json(meta.get("annotations"))
            told[f"{cluster} spec"] = _json(child["spec"])
            told[f"{cluster} says"] = str(_status(child).get("compliant"))
            for detail in _status(child).get("details") or ():
                states = [
                    entry["message"].partition(";")[0]
                    for entry in (detail.get("history") or ())[:1]
                ]
                own = detail.get("compliant")
                told[f"{cluster} {detail['templateMeta']['name']}"] = f"{own}, newest {states}"
        return told


class PolicyStage:
    """`space` is the row's own namespace on the hub; `lines` its transcript."""

    def __init__(self, slug: str, hub: Place, clusters: tuple[str, ...], spoil: Spoil) -> None:
        """`spoil(cluster, child's name)`: somebody changes what the policy is about, on the cluster."""
        self.space = slug
        self.lines: list[str] = []
        self._hub = hub
        self._clusters = clusters
        self._spoil = spoil
        self._facts: Mapping[str, str] = {}

    @property
    def child(self) -> str:
        """The children's name."""
        return f"{self.space}.{POLICY}"

    async def open(self) -> None:
        """Make the row's namespace."""
        await self._hub.create(kinds.NAMESPACE, {"metadata": {"name": self.space}})

    async def leave(self) -> None:
        """Take the root away, so that nothing goes on."""
        await self.remove()
        await self._until(lambda seen: not seen.children, "the children are gone")

    # --- what a user does ---

    async def policy(self, *templates: Object, meta: Object | None = None, **spec: Any) -> None:
        """Create the root."""
        whole = {"remediationAction": "inform", "disabled": False, **spec}
        whole["policy-templates"] = [{"objectDefinition": t} for t in templates]
        where = {"name": POLICY, "namespace": self.space, **(meta or {})}
        await self._hub.create(kinds.POLICY, {"metadata": where, "spec": whole})

    async def edit(self, **spec: Any) -> None:
        """Change the root's spec."""
        await self._hub.merge_patch(kinds.POLICY, POLICY, {"spec": spec}, self.space)

    async def edit_meta(self, **meta: Object) -> None:
        """Change the root's labels or annotations."""
        await self._hub.merge_patch(kinds.POLICY, POLICY, {"metadata": meta}, self.space)

    async def edit_child(self, cluster: str, patch: Object) -> None:
        """Change a child by hand, which nobody should."""
        await self._hub.merge_patch(kinds.POLICY, self.child, patch, cluster)

    async def remove(self) -> None:
        """Delete the root."""
        await self._delete(POLICY, self.space)

    async def remove_child(self, cluster: str) -> None:
        """Delete a child by hand, which nobody should."""
        await self._delete(self.child, cluster)

    async def place(self, name: str, *clusters: str) -> None:
        """Have a Placement decide for these clusters and no others."""
        wanted = {"key": CLUSTER_NAME_LABEL, "operator": "In", "values": list(clusters) or ["none"]}
        selector = {"labelSelector": {"matchExpressions": [wanted]}}
        spec = {"predicates": [{"requiredClusterSelector": selector}]}
        body = {"metadata": {"name": name, "namespace": self.space}, "spec": spec}
        try:
            await self._hub.merge_patch(kinds.PLACEMENT, name, {"spec": spec}, self.space)
        except NotFound:
            await self._hub.create(kinds.PLACEMENT, body)

    async def bind(self, name: str, placement: str, **more: Any) -> None:
        """Bind the policy to a Placement; `more`: subFilter, bindingOverrides."""
        group = kinds.PLACEMENT.group
        body = {
            "metadata": {"name": name, "namespace": self.space},
            "placementRef": {"apiGroup": group, "kind": "Placement", "name": placement},
            "subjects": [{"apiGroup": kinds.POLICY.group, "kind": "Policy", "name": POLICY}],
            **more,
        }
        await self._hub.create(kinds.PLACEMENT_BINDING, body)

    async def unbind(self, name: str) -> None:
        """Delete a binding."""
        await self._hub.delete(kinds.PLACEMENT_BINDING, name, self.space)

    async def spoil(self, cluster: str) -> None:
        """Change what the policy is about, on the cluster."""
        await self._spoil(cluster, self.child)

    # --- what is seen ---

    async def told(self, what: str, holds: Callable[[Seen], bool]) -> None:
        """Wait until it is so and nothing changes any more, then write down all there is."""
        facts = (await self._until(holds, what)).facts()
        while True:
            await asyncio.sleep(STILL_S)
            again = (await self._until(holds, what)).facts()
            if again == facts:
                break
            facts = again
        self.lines += [f"> {what}", *self._news(facts)]

    def _news(self, facts: Mapping[str, str]) -> Iterator[str]:
        """What is otherwise than when it was written down last; the row's own name is `$row`."""
        before, self._facts = self._facts, facts
        for key in sorted(before.keys() | facts.keys()):
            if facts.get(key) != before.get(key):
                line = f"  {key}: {facts.get(key, 'no more')}"
                yield line.replace(self.space, "$row").replace(kinds.POLICY.group, "$group")

    async def _until(self, holds: Callable[[Seen], bool], what: str) -> Seen:
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not holds(seen := await self._look()):  # noqa: ASYNC110 - several objects
                    await asyncio.sleep(LOOK_AGAIN_S)
                return seen
        except TimeoutError:
            facts = (await self._look()).facts()
            told = "\n".join(f"  {key}: {value}" for key, value in facts.items())
            raise Never(f"{self.space}: {what}; there is:\n{told}") from None

    async def _look(self) -> Seen:
        root = await self._get(POLICY, self.space)
        found = {c: await self._get(self.child, c) for c in self._clusters}
        return Seen(root, {cluster: child for cluster, child in found.items() if child})

    async def _get(self, name: str, namespace: str) -> Object | None:
        try:
            return await self._hub.get(kinds.POLICY, name, namespace)
        except NotFound:
            return None

    async def _delete(self, name: str, namespace: str) -> None:
        try:
            await self._hub.delete(kinds.POLICY, name, namespace)
        except NotFound:
            return


def _status(policy: Object | None) -> Mapping[str, Any]:
    return ((policy or {}).get("status") or {}) if policy else {}


def _json(value: Any) -> str:
    return json.dumps(_masked(value), sort_keys=True)


def _masked(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _masked(own) for key, own in value.items() if key not in _MASKED}
    return [_masked(own) for own in value] if isinstance(value, list) else value
