"""The hands and eyes of the script on one cluster, in the words of its rows.

Everything waits for what can be seen; nothing sleeps.  What the rules say about time is put
down as a yes or no that a slow machine cannot turn round: agents may be late, never early.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import itertools
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final, TypeVar

from talm.api import kinds
from talm.api.kinds import Kind
from talm.errors import NotFound

from .journal import Change, Never, Request, Side
from .lane import Lane, Place
from .transcript import Transcript

T = TypeVar("T")
BARRIER: Final = "barrier"
HELD: Final = "held"
DUMPED: Final = (kinds.CONFIG_MAP, kinds.SECRET, kinds.JOB)
LOOK_AGAIN_S: Final = 0.05
NOT_FOUND: Final = 404


class Stage:
    """One row's play.  `space` is the namespace on the spoke that is the row's own."""

    def __init__(self, slug: str, title: str, lane: Lane, *, collected: bool = False) -> None:
        """`collected`: what the hub's collector takes belongs to the story."""
        self.lane = lane
        self.space = slug
        self.prefix = f"{slug}--"
        self.transcript = Transcript(title, self.prefix)
        self._barriers = 0
        self._deleted: set[str] = set()
        self._collected = collected
        self._seen_changes = len(lane.journal.changes)
        self._seen_requests = len(lane.journal.requests)

    @contextlib.asynccontextmanager
    async def step(self, what: str, *, ordered: bool = True) -> AsyncIterator[None]:
        """Do something and wait for what comes of it; then it is written down.

        `ordered` False: the order in which the agents do it is not defined.
        """
        self.transcript.step(what)
        try:
            yield
        finally:
            await self._write_down(ordered=ordered)

    def note(self, what: str, holds: bool) -> None:
        """Put down whether a rule was kept."""
        self.transcript.say("rule", f"{what}: {'yes' if holds else 'no'}")

    # --- on the hub ---

    def called(self, name: str) -> str:
        """The hub object's whole name."""
        return self.prefix + name

    async def view(self, view: str, /, *, every_s: int | None = None, **scope: Any) -> None:
        """Create a view; `every_s` None leaves updateIntervalSeconds out."""
        if every_s is not None:
            scope["updateIntervalSeconds"] = every_s
        await self._create(kinds.VIEW, view, {"scope": scope})

    async def action(self, action: str, kind: str, /, **kube: Any) -> None:
        """Create an action; without `kube` its spec has none."""
        spec = {"actionType": kind, "kube": kube} if kube else {"actionType": kind}
        await self._create(kinds.ACTION, action, spec)

    async def edit(self, kind: Kind, name: str, patch: Mapping[str, Any]) -> None:
        """Write to a view or an action as a user would."""
        await self.lane.hub.merge_patch(kind, self.called(name), patch, self.lane.cluster)

    async def poke(self, kind: Kind, name: str) -> None:
        """Write an annotation."""
        moment = self.lane.now().isoformat()
        await self.edit(kind, name, {"metadata": {"annotations": {"poked": moment}}})

    async def remove(self, kind: Kind, name: str) -> None:
        """Delete a view or an action and wait until the watch has said so."""
        self._deleted.add(self.called(name))
        await self.lane.hub.delete(kind, self.called(name), self.lane.cluster)
        await self.until(lambda: self.latest(kind, name) is None, f"{name} is deleted")

    async def barrier(self) -> None:
        """Wait until the action agent has done everything that it had to do before now."""
        self._barriers += 1
        name = f"{BARRIER}-{self._barriers}"
        await self.action(name, "Create", template=self.config_map(name))
        await self.done(name)

    # --- on the spoke ---

    async def make_space(self) -> None:
        """Create the row's namespace."""
        await self.put(kinds.NAMESPACE, self.space)

    async def put(self, kind: Kind, name: str, namespace: str = "", **body: Any) -> dict[str, Any]:
        """Create an object by the script's own hand."""
        meta = {"name": name, "namespace": namespace} if namespace else {"name": name}
        typed = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": meta}
        return await self.lane.spoke.create(kind, {**typed, **body})

    async def put_data(self, name: str, value: str) -> None:
        """Create a ConfigMap in the row's namespace, or change it."""
        body = {"data": {"n": value}}
        try:
            await self.lane.spoke.merge_patch(kinds.CONFIG_MAP, name, body, self.space)
        except NotFound:
            await self.put(kinds.CONFIG_MAP, name, self.space, **body)

    async def take(self, kind: Kind, name: str, namespace: str = "") -> None:
        """Delete an object by the script's own hand and wait until it is gone."""
        await self.lane.spoke.delete(kind, name, namespace)
        await self.absent(kind, name, namespace)

    async def absent(self, kind: Kind, name: str, namespace: str = "") -> None:
        """Wait until the spoke has no such object."""
        async with self._patience(f"{kind} {name} is gone"):
            while not await _is_absent(self.lane.spoke, kind, name, namespace):  # noqa: ASYNC110
                await asyncio.sleep(LOOK_AGAIN_S)  # nobody tells of objects of the spoke

    def config_map(self, name: str, namespace: str | None = None, **data: str) -> dict[str, Any]:
        """A template; `namespace` "" leaves it out."""
        where = self.space if namespace is None else namespace
        meta = {"name": name, "namespace": where} if where else {"name": name}
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}
        return body | {"data": data or {"n": "0"}}

    # --- what is seen ---

    async def until(self, question: Callable[[], T], what: str) -> T:
        """Wait for a true answer; raises Never."""
        return await self.lane.journal.until(question, what, seconds=self.lane.patience_s)

    async def says(self, view: str, status: str) -> None:
        """Wait until the view's Processing is `status`."""
        await self.until(
            lambda: self.condition(kinds.VIEW, view).get("status") == status,
            f"view {view} says {status}",
        )

    async def answered(self, *views: str) -> None:
        """Wait until each view has a condition."""
        for view in views:
            await self._conditioned(kinds.VIEW, view)

    async def shows(self, view: str, value: str) -> None:
        """Wait until the view's result is a ConfigMap with this value (see put_data)."""

        def holds() -> bool:
            result = (self.latest(kinds.VIEW, view) or {}).get("status", {}).get("result") or {}
            return bool(result.get("data") == {"n": value})

        await self.until(holds, f"view {view} shows {value}")

    async def done(self, action: str, *, runs: int | None = None) -> None:
        """Wait until the action has its condition and has been reported `runs` times in all.

        None: once when it succeeded, twice when it failed.
        """
        condition = await self._conditioned(kinds.ACTION, action)
        await self.written(action, runs or (2 if condition["status"] == "False" else 1))

    async def succeeded(self, action: str) -> None:
        """Wait until the action's condition is True."""
        await self.until(
            lambda: self.condition(kinds.ACTION, action).get("status") == "True",
            f"{action} succeeds",
        )

    async def collected(self, action: str) -> dt.datetime:
        """Wait until the action is gone from the hub, by whosever hand; when that was."""
        await self.until(lambda: self.latest(kinds.ACTION, action) is None, f"{action} is gone")
        return self.lane.now()

    def latest(self, kind: Kind, name: str) -> Mapping[str, Any] | None:
        """The view or action as the hub's watch showed it last; None when it is not there."""
        changes = self.changes_of(kind, name)
        return changes[-1].obj if changes else None

    def changes_of(self, kind: Kind, name: str) -> list[Change]:
        """All that the hub's watch showed of it so far."""
        return [
            one
            for one in self.lane.journal.changes
            if one.kind == kind and one.name == self.called(name)
        ]

    def condition(self, kind: Kind, name: str) -> Mapping[str, Any]:
        """Its one condition; empty when there is none."""
        status = (self.latest(kind, name) or {}).get("status") or {}
        conditions: list[Mapping[str, Any]] = status.get("conditions") or [{}]
        return conditions[0]

    def flip(self, name: str, kind: Kind = kinds.VIEW) -> dt.datetime:
        """When its condition last changed its status, as the agent put it."""
        moment = self.condition(kind, name)["lastTransitionTime"]
        return dt.datetime.fromisoformat(moment)

    def reads(self, kind: Kind, name: str) -> list[Request]:
        """What was answered when the agents looked at an object of the spoke, oldest first."""
        return [
            one
            for one in self.lane.journal.requests
            if one.side is Side.SPOKE
            and one.verb == "GET"
            and one.plural == kind.plural
            and one.name == name
            and one.namespace in ("", self.space)
        ]

    def refused(self, verb: str, name: str) -> bool:
        """Whether the agents were told that an object in the row's namespace is not there."""
        return any(
            (one.verb, one.namespace, one.name, one.code) == (verb, self.space, name, NOT_FOUND)
            for one in self.lane.journal.requests
        )

    async def read_times(self, kind: Kind, name: str, count: int) -> list[Request]:
        """Wait until the object was read `count` times in all; these reads."""
        what = f"{kind} {name} is read {count} times"
        await self.until(lambda: len(self.reads(kind, name)) >= count, what)
        return self.reads(kind, name)[:count]

    async def another_read(self, kind: Kind, name: str) -> None:
        """Wait until the object is read once more."""
        await self.read_times(kind, name, len(self.reads(kind, name)) + 1)

    def discovers_between(self, reads: list[Request]) -> bool:
        """Whether the agents asked what the spoke serves before each of these but the first."""
        places = [self.lane.journal.requests.index(one) for one in reads]
        gaps = itertools.pairwise(places)
        return all(
            any(one.side is Side.SPOKE and not one.plural for one in self._asked(first, last))
            for first, last in gaps
        )

    def _asked(self, first: int, last: int) -> list[Request]:
        return self.lane.journal.requests[first:last]

    def writes(self, name: str) -> list[Request]:
        """The status writes to a hub object, lost ones too, oldest first."""
        return [
            one
            for one in self.lane.journal.requests
            if one.side is Side.HUB and one.verb == "PUT" and one.name == self.called(name)
        ]

    async def written(self, name: str, count: int) -> list[Request]:
        """Wait until a status write to a hub object was tried `count` times; these."""
        what = f"{name} is written {count} times"
        await self.until(lambda: len(self.writes(name)) >= count, what)
        return self.writes(name)[:count]

    def forget_requests(self) -> None:
        """Leave out of the step how often something was asked: it is not defined."""
        self._seen_requests = len(self.lane.journal.requests)

    async def _conditioned(self, kind: Kind, name: str) -> Mapping[str, Any]:
        return await self.until(lambda: self.condition(kind, name), f"{name} is answered")

    # --- the end ---

    async def leave(self) -> None:
        """Delete the row's views, which would be polled for ever."""
        for kind in (kinds.VIEW, kinds.ACTION):
            for name in sorted({c.name for c in self.lane.journal.changes if c.kind == kind}):
                if name.startswith(self.prefix):
                    with contextlib.suppress(NotFound):
                        await self.lane.hub.delete(kind, name, self.lane.cluster)

    async def _create(self, kind: Kind, name: str, spec: Mapping[str, Any]) -> None:
        body = {
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "metadata": {"name": self.called(name), "namespace": self.lane.cluster},
            "spec": spec,
        }
        await self.lane.hub.create(kind, body)
        await self.until(lambda: self.latest(kind, name), f"{name} is seen")

    async def _write_down(self, *, ordered: bool) -> None:
        journal = self.lane.journal
        changes = [c for c in journal.changes[self._seen_changes :] if self._is_told(c)]
        requests = [r for r in journal.requests[self._seen_requests :] if self._is_asked(r)]
        self._seen_changes, self._seen_requests = len(journal.changes), len(journal.requests)
        if not ordered:
            requests.sort(key=lambda one: (one.verb, one.plural, one.name))
        self.transcript.changes(changes)
        self.transcript.requests(requests)
        self.transcript.objects(await self._dump())

    def _is_told(self, change: Change) -> bool:
        if not change.name.startswith(self.prefix) or BARRIER in change.name:
            return False
        collected = change.obj is None and change.kind == kinds.ACTION
        return self._collected or not collected or change.name in self._deleted

    def _is_asked(self, request: Request) -> bool:
        if request.side is Side.HUB:
            own = request.name.startswith(self.prefix) and BARRIER not in request.name
            return own and request.plural == kinds.ACTION.plural
        mine = self._is_mine(request.name) or self._is_mine(request.namespace)
        return mine and request.verb != "GET" and not request.name.startswith(BARRIER)

    def _is_mine(self, name: str) -> bool:
        return name == self.space or name.startswith(self.prefix)

    async def _dump(self) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = []
        for space in await self.lane.spoke.list(kinds.NAMESPACE):
            name = space["metadata"]["name"]
            if not self._is_mine(name):
                continue
            found.append({**space, "kind": "Namespace"})
            if space["status"]["phase"] == "Active":
                for kind in DUMPED:
                    objects = await self.lane.spoke.list(kind, name)
                    found += [{**obj, "kind": kind.kind} for obj in objects if _is_ours(obj)]
        return found

    @contextlib.asynccontextmanager
    async def _patience(self, what: str) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self.lane.patience_s):
                yield
        except TimeoutError:
            raise Never(what) from None


async def _is_absent(place: Place, kind: Kind, name: str, namespace: str) -> bool:
    try:
        await place.get(kind, name, namespace)
    except NotFound:
        return True
    return False


def _is_ours(obj: Mapping[str, Any]) -> bool:
    name: str = obj["metadata"]["name"]
    return not name.startswith(BARRIER) and name != HELD
