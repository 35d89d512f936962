"""From the words in a view or action to a resource of the spoke, with the agents' own habits.

Follows controller-runtime's lazy RESTMapper and the agents' MappingFor (OCM agents,
kubecontrol.go), flaws included: `resource.group` is first read as `resource.version.group`,
is not found, and costs a discovery request each time; the very first miss on an unknown group
is worded differently from later ones.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeAlias

from talm.errors import ApiError, TalmError
from talm.sim.spoke.spokes import Served, SpokeApi


class NoMapping(TalmError):
    """A resource or kind is unknown on the spoke; the text is the Go error's."""


class _NoMatch(Exception):
    """Nothing in the cache matches; discovery may help.  `text` is what the Go error says."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class Words(NamedTuple):
    """A name with what is known of its group and version ("" is unknown)."""

    word: str
    version: str = ""
    group: str = ""


_Match: TypeAlias = Callable[[Words], Served]


class RestMapper:
    """The resources that one agent process knows of; asks the spoke when it knows too little."""

    def __init__(self, spoke: SpokeApi) -> None:
        self._spoke = spoke
        self._known: dict[tuple[str, str], tuple[Served, ...]] = {}
        self._groups: set[str] = set()
        self._discovered = False

    def forget(self) -> None:
        """Know nothing again, as after a restart of the agent's process."""
        self._known.clear()
        self._groups.clear()
        self._discovered = False

    async def for_resource(self, argument: str) -> Served:
        """What `jobs`, `Job`, `jobs.v1.batch` or `jobs.batch` means; raises NoMapping."""
        full, partial = parse(argument)
        for words in (full, partial):
            if words is not None:
                try:
                    return await self._look_up(words, self._match_resource)
                except (_NoMatch, NoMapping, ApiError):
                    continue  # the agent drops this error and tries the next reading
        for words in (full, partial):
            if words is not None:
                try:
                    return await self._look_up(words, self._match_kind)
                except (_NoMatch, NoMapping, ApiError):
                    continue
        raise NoMapping(f'the server doesn\'t have a resource type "{partial.word}"')

    async def for_kind(self, group: str, version: str, kind: str) -> Served:
        """The resource of a kind; raises NoMapping, or ApiError when discovery fails."""
        try:
            return await self._look_up(Words(kind, version, group), self._match_kind)
        except _NoMatch as exc:
            raise NoMapping(exc.text) from exc

    async def _look_up(self, words: Words, match: _Match) -> Served:
        try:
            return match(words)
        except _NoMatch:
            await self._reload(words.group, words.version)
        return match(words)

    async def _reload(self, group: str, version: str) -> None:
        if self._discovered and (version or group in self._groups):
            versions = [version] if version else sorted(v for g, v in self._known if g == group)
            await self._refresh(group, versions)
            return
        try:
            served = await self._spoke.discover()
        except ApiError as exc:
            raise NoMapping(f"failed to get server groups: {exc.message}") from exc
        self._discovered = True
        self._remember(served)
        if version and (group, version) not in self._known:
            name = f"{group}/{version}" if group else version
            raise NoMapping(
                "unable to retrieve the complete list of server APIs: "
                f"{name}: no matches for {group}/{version}, Resource="
            )

    async def _refresh(self, group: str, versions: Iterable[str]) -> None:
        for version in versions:
            try:
                served = await self._spoke.discover_version(group, version)
            except ApiError as exc:
                name = f"{group}/{version}" if group else version
                raise NoMapping(
                    "failed to get API group resources: unable to retrieve the complete list "
                    f"of server APIs: {name}: {exc.message}"
                ) from exc
            if served:
                self._remember(served)
            elif (group, version) in self._known:
                self._groups.discard(group)
                for known in [key for key in self._known if key[0] == group]:
                    del self._known[known]

    def _remember(self, served: Sequence[Served]) -> None:
        fresh: dict[tuple[str, str], list[Served]] = {}
        for one in served:
            fresh.setdefault((one.kind.group, one.kind.version), []).append(one)
        for (group, version), members in fresh.items():
            lists = [_list_of(one) for one in members]
            self._known[group, version] = (*members, *lists)
        self._groups |= {group for group, _ in fresh}

    def _match_resource(self, words: Words) -> Served:
        wanted = words.word.lower()
        named = [
            one
            for served in self._known.values()
            for one in served
            if wanted in (one.kind.plural, one.singular) and words.version in ("", one.kind.version)
        ]
        exact = [one for one in named if one.kind.group == words.group]
        if words.group and not exact and not words.version:
            # "storageclass.storage" finds storage.k8s.io: groups match by their beginning
            exact = [one for one in named if one.kind.group.startswith(words.group)]
        found = exact if words.group else named
        if not found:
            raise _NoMatch(f"no matches for {words.group}/{words.version}, Resource={words.word}")
        return min(found, key=lambda one: one.kind.group != "")  # the core group comes first

    def _match_kind(self, words: Words) -> Served:
        for (group, version), served in self._known.items():
            if group == words.group and words.version in ("", version):
                for one in served:
                    if words.word in (one.kind.kind, one.kind.kind.lower()):
                        return one
        in_group = f"{words.group}/{words.version}" if words.group else words.version
        raise _NoMatch(f'no matches for kind "{words.word}" in version "{in_group}"')


def _list_of(one: Served) -> Served:
    """client-go's mapper believes in a resource for every list kind; nobody serves them."""
    kind = dataclasses.replace(
        one.kind, kind=f"{one.kind.kind}List", plural=f"{one.kind.kind.lower()}lists"
    )
    return Served(kind, f"{one.kind.kind.lower()}list")


def parse(argument: str) -> tuple[Words | None, Words]:
    """Both readings of `word.rest`: `word.version.group` (needs two dots) and `word.group`.

    apimachinery's ParseResourceArg; `jobs.batch.example` reads as version `batch` too.
    """
    word, _, group = argument.partition(".")
    version, dot, rest = group.partition(".")
    full = Words(word, version, rest) if dot else None
    return full, Words(word, "", group)
