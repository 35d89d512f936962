"""One row's play as text: what an agent's user could tell apart, and nothing else.

Masked: times, uids (numbered instead: the same one is the same number), resourceVersions,
managedFields, addresses.  Order inside a step is that of one object's changes and of the
requests to one API server; between objects, and between the two, none is defined.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from talm.api import kinds

from .journal import Change, Request, Side

_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_URL: Final = re.compile(r"https?://[0-9.]+:\d+")
_DIAL: Final = re.compile(r"dial tcp [0-9.]+:\d+")
_NOUNS: Final = {kinds.VIEW: "view", kinds.ACTION: "action"}
_WIDTH: Final = 8


class Transcript:
    """Lines of one row; `prefix` is what its hub objects' names begin with."""

    def __init__(self, title: str, prefix: str) -> None:
        self.lines = [f"# {title}"]
        self._prefix = prefix
        self._uids: dict[str, str] = {}
        self._shown: dict[tuple[str, str], Mapping[str, Any]] = {}
        self._last_objects: list[str] = []

    def __str__(self) -> str:
        return "\n".join(self.lines) + "\n"

    def step(self, what: str) -> None:
        """A step begins."""
        self.lines += ["", f"> {what}"]

    def say(self, label: str, text: str) -> None:
        """One line: what kind of thing it is, then the thing."""
        self.lines.append(f"{label:<{_WIDTH}}{text}".rstrip())

    def changes(self, changes: Iterable[Change]) -> None:
        """What became of views and actions, by name, each one's changes in their order."""
        for change in sorted(changes, key=lambda change: (change.kind.plural, change.name)):
            name = change.name.removeprefix(self._prefix)
            self.say("hub", f"{_NOUNS[change.kind]} {name}: {self._became(change)}")

    def requests(self, requests: Iterable[Request]) -> None:
        """What the action agent asked of the spoke, then what it wrote on the hub."""
        requests = list(requests)
        for one in requests:
            if one.side is Side.SPOKE:
                how = f" ({one.propagation})" if one.propagation else ""
                self.say("asked", f"{one.verb} {one.plural} {one.name}{how}: {_code(one.code)}")
        for one in requests:
            if one.side is Side.HUB:
                name = one.name.removeprefix(self._prefix)
                self.say("wrote", f"{name}: {_code(one.code)}")

    def objects(self, objects: Sequence[Mapping[str, Any]]) -> None:
        """What the spoke has now, if that is news."""
        lines = sorted(self._object(obj) for obj in objects)
        if lines != self._last_objects:
            for line in lines or ["nothing"]:
                self.say("spoke", line)
        self._last_objects = lines

    def _became(self, change: Change) -> str:
        key = (change.kind.plural, change.name)
        before, after = self._shown.get(key), change.obj
        if after is None:
            self._shown.pop(key, None)
            return "deleted"
        self._shown[key] = after
        extras = "".join(f", {what}" for what in ("finalizers",) if after["metadata"].get(what))
        if before is None:
            told = f": {self._status({}, after)}" if after.get("status") else ""
            return f"created{extras}{told}"
        if before.get("status") == after.get("status"):
            return f"edited{extras}"
        return self._status(before, after) + extras

    def _status(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
        old, new = before.get("status") or {}, after.get("status") or {}
        earlier = {one["type"]: one for one in old.get("conditions") or ()}
        parts = [_condition(earlier.get(one["type"]), one) for one in new.get("conditions") or ()]
        result = new.get("result")
        if result is None:
            shown = "none"
        else:
            shown = "kept" if result == old.get("result") else self._masked_json(result)
        return "; ".join([*parts, f"result {shown}"])

    def _object(self, obj: Mapping[str, Any]) -> str:
        meta = obj["metadata"]
        name = f"{obj['kind']} {meta['name']}"
        if obj["kind"] == "Namespace":
            return f"{name} {obj['status']['phase']}"
        kept = {key: meta[key] for key in ("labels", "annotations", "finalizers") if meta.get(key)}
        kept |= {key: obj[key] for key in obj if key not in ("apiVersion", "kind", "metadata")}
        return f"{name} {self._masked_json(kept)}"

    def _masked_json(self, value: object) -> str:
        return json.dumps(self._masked(value), sort_keys=True)

    def _masked(self, value: object, key: str = "") -> object:
        if isinstance(value, Mapping):
            return {k: self._masked(v, k) for k, v in value.items() if k != "managedFields"}
        if isinstance(value, list):
            return [self._masked(one) for one in value]
        if key == "uid":
            return self._uids.setdefault(str(value), f"uid-{len(self._uids) + 1}")
        if key == "resourceVersion":
            return "VERSION"
        return mask(value) if isinstance(value, str) else value


def mask(text: str) -> str:
    """Without times and addresses."""
    return _DIAL.sub("dial tcp ADDRESS", _URL.sub("URL", _TIME.sub("TIME", text)))


def _condition(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> str:
    if before is None:
        flip = "first"
    elif before["status"] != now["status"]:
        flip = "flipped"
    else:
        same = before["lastTransitionTime"] == now["lastTransitionTime"]
        flip = "kept" if same else "moved"
    known = {"type", "status", "reason", "message", "lastTransitionTime"}
    more = {key: now[key] for key in now if key not in known}
    text = f'{now["type"]}={now["status"]} {now["reason"]} "{mask(now["message"])}" ({flip})'
    return f"{text} {more}" if more else text


def _code(code: int) -> str:
    if code == 0:
        return "lost"
    return "ok" if code < 300 else str(code)
