"""From what the user asked for to the images themselves.

    release image ──► its components ──► minus the excludes ─┐
    index images ───► heads of the channels ──► their images ├──► manifests of all of them
    additional images ───────────────────────────────────────┘

The release and the index images are pulled too: the node looks for them in the update.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

import structlog

from talm.agent.catalog.reading import (
    choose_bundles,
    read_catalog,
    references_of,
    starts_passed_over,
)
from talm.agent.content.excludes import check_patterns, exclude
from talm.agent.content.layerfiles import LayerFiles
from talm.agent.content.manifests import Image, resolve
from talm.agent.content.references import Reference
from talm.agent.content.release import read_release
from talm.agent.failures import failure
from talm.agent.spec import Spec
from talm.agent.transfer.registry import Registry
from talm.agent.transfer.retry import Passing
from talm.api.progress import FailureClass
from talm.errors import AgentError

log = structlog.get_logger()

PATIENCE_S: Final = 600.0  # as long as TLS or name resolution that fails is waited for
_AT_ONCE: Final = 8  # manifests are small: what counts over a far link is the round trips


@dataclasses.dataclass(frozen=True, slots=True)
class Resolved:
    """The images that were found, the failures of the others, and what the user should know."""

    images: tuple[Image, ...]
    errors: tuple[AgentError, ...]
    warnings: tuple[str, ...]


class Resolver:
    """Resolves one spec for one architecture.

    `patience_s`: how long images wait for a registry that does not answer while others do.
    """

    def __init__(
        self,
        registry: Registry,
        files: LayerFiles,
        architecture: str,
        *,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._registry = registry
        self._files = files
        self._architecture = architecture
        self._known: dict[Reference, Image] = {}
        self._patience_s = patience_s
        self._turns: defaultdict[str, asyncio.Semaphore]  # by registry
        self._turns = defaultdict(lambda: asyncio.Semaphore(_AT_ONCE))
        self._lost: set[str] = set()

    async def resolve(self, spec: Spec) -> Resolved:
        """Find all images of `spec`.

        A single image that cannot be had is in `errors`.  Raises AgentError when it is not known
        what to pull (ReleaseUnreadable, CatalogUnreadable, PackageNotFound, InvalidSpec) or the
        registry cannot be reached.
        """
        await check_patterns(spec.excludes)  # before a byte moves
        wanted: list[Reference] = []
        warnings: tuple[str, ...] = ()
        if spec.release:
            image = await self._image(spec.release, FailureClass.RELEASE_UNREADABLE)
            excluded = await exclude(await read_release(image, self._files), spec.excludes)
            warnings = excluded.warnings
            wanted += [spec.release, *(component.reference for component in excluded.kept)]
            log.info("release", components=excluded.components, kept=len(excluded.kept))
        elif spec.excludes:
            warnings = ("exclude patterns are given, but no release that they could apply to",)
        if spec.indexes:
            operators, more = await self._operators(spec)
            wanted += [*spec.indexes, *operators]
            warnings += more
        for warning in warnings:
            log.warning("specification", text=warning)
        images, errors = await self._all(dict.fromkeys([*wanted, *spec.additional]))
        return Resolved(images, errors, warnings)

    async def _operators(self, spec: Spec) -> tuple[tuple[Reference, ...], tuple[str, ...]]:
        """Return the images of the wanted channels, and what the user should know."""
        names = frozenset(wanted.package for wanted in spec.packages)
        catalogs = []
        for index in spec.indexes:
            image = await self._image(index, FailureClass.CATALOG_UNREADABLE)
            catalogs.append(await read_catalog(image, self._files, names))
        bundles = choose_bundles(catalogs, spec.packages)
        log.info("catalogs", bundles=[bundle.name for bundle in bundles])
        return references_of(bundles), starts_passed_over(catalogs, spec.packages)

    async def _all(
        self, references: Iterable[Reference]
    ) -> tuple[tuple[Image, ...], tuple[AgentError, ...]]:
        """Resolve all; a registry that never answers keeps the others' images waiting for a while.

        A link that is down is another case: then nobody has answered, or one no longer does that
        has, and it is waited for.
        """
        asking = {asyncio.create_task(self._found(one)): one for one in references}
        found: dict[Reference, Image | AgentError] = {}
        waiting = set(asking)
        try:
            while waiting:
                done, waiting = await asyncio.wait(
                    waiting, timeout=self._patience_s, return_when=asyncio.FIRST_COMPLETED
                )
                found |= {asking[task]: task.result() for task in done}
                answered = {i.reference.registry for i in found.values() if isinstance(i, Image)}
                if done or not answered:
                    continue
                for task in [t for t in waiting if asking[t].registry not in answered]:
                    task.cancel()
                    waiting.remove(task)
                    why = f"{asking[task]}: no answer for {self._patience_s:g} s, others have come"
                    found[asking[task]] = failure(FailureClass.REGISTRY_UNREACHABLE, why)
        finally:
            for task in waiting:
                task.cancel()
        return _sorted([found[one] for one in asking.values()])

    async def _found(self, reference: Reference) -> Image | AgentError:
        """Resolve one; its failure is a value, so that the others go on.

        What a registry that was given up has more of is given up with it: asking for the rest
        would take as long for each.
        """
        async with self._turns[reference.registry]:
            if reference.registry in self._lost:
                why = f"{reference}: {reference.registry} was given up"
                return failure(FailureClass.REGISTRY_UNREACHABLE, why)
            try:
                return await self._image(reference, FailureClass.IMAGE_NOT_FOUND)
            except AgentError as exc:
                if isinstance(exc.__cause__, Passing):  # what did not pass in all that time
                    self._lost.add(reference.registry)
                return exc

    async def _image(self, reference: Reference, kind: FailureClass) -> Image:
        if reference not in self._known:
            self._known[reference] = await resolve(
                self._registry, reference, self._architecture, kind
            )
        return self._known[reference]


def _sorted(
    found: Sequence[Image | AgentError],
) -> tuple[tuple[Image, ...], tuple[AgentError, ...]]:
    """Part images and failures.  Raises the first when there is nothing but lost registries."""
    errors = [one for one in found if isinstance(one, AgentError)]
    if errors and all(
        isinstance(one, AgentError) and one.kind == FailureClass.REGISTRY_UNREACHABLE.value
        for one in found
    ):
        raise errors[0]
    return tuple(one for one in found if isinstance(one, Image)), tuple(errors)
