"""Asks update graphs which image a release has, in the background: a pass never waits for it.

    ask(query) ── known? ──► the answer, at once
        └─ unknown or due ──► one request per graph and channel ──► on_answer(query) ──► ask again

Decided here: when a graph is asked again, and which failures pass by themselves.  Not here: what is
asked (core/platform_image.py) and what an error means for a ClusterGroupUpgrade.  The error texts
are the existing operator's.
"""

from __future__ import annotations

import asyncio
import http
import math
import random
import time
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

import aiohttp
import msgspec
import structlog
import yarl

from talm.core.model import GraphAnswer, GraphQuery

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphSettings:
    """`timeout_s` is for one request; `attempts` of them, `pause_s` and more apart, make a fetch.

    `good_for_s`: releases come to a graph every few days.  `bad_for_s`: the pause before the next
    fetch while answers are missing; it doubles up to `bad_for_at_most_s`.  `largest_answer` is in
    bytes: a channel has about 1 MiB.
    """

    insecure: bool = False
    timeout_s: float = 10.0
    attempts: int = 3
    pause_s: float = 1.0
    good_for_s: float = 300.0
    bad_for_s: float = 30.0
    bad_for_at_most_s: float = 300.0
    forgotten_after_s: float = 3600.0
    concurrency: int = 4
    largest_answer: int = 32 * 2**20


class _Node(msgspec.Struct):
    version: str | None = None
    payload: str | None = None


class _Graph(msgspec.Struct):
    nodes: tuple[_Node, ...] | None = None


@dataclass(frozen=True, slots=True)
class _Failure:
    """`passing`: the same request may succeed in a moment."""

    text: str
    passing: bool


@dataclass(slots=True)
class _Page:
    """What is known of one URL: version -> image as last heard (None: never), and what failed since.

    `asked` are the queries since the last answer; `asked_at` and `fetched_at` are readings of the
    clock (minus infinity: never).
    """

    images: Mapping[str, str] | None = None
    failure: str = ""
    asked: set[GraphQuery] = field(default_factory=set)
    asked_at: float = 0.0
    fetched_at: float = -math.inf
    task: asyncio.Task[None] | None = None


class UpdateGraph:
    """The cache of all graphs; belongs to the event loop that calls `ask`.

    `on_answer(query)` is called after each fetch for everybody who has asked since the one before:
    whoever is still interested asks again.  While an answer is missing and wanted, the graph is
    asked again by itself.  Proxies come from the environment (HTTPS_PROXY, NO_PROXY, …).
    """

    def __init__(
        self,
        settings: GraphSettings,
        on_answer: Callable[[GraphQuery], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._on_answer = on_answer
        self._clock = clock
        self._pages: dict[str, _Page] = {}
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End what is under way; nobody is called any more."""
        tasks = [page.task for page in self._pages.values() if page.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def ask(self, query: GraphQuery) -> GraphAnswer:
        """Tell what is known, at once; see that more becomes known when that is due."""
        url, now = _url(query), self._clock()
        page = self._pages.get(url)
        if page is None:
            self._forget(now)
            page = self._pages[url] = _Page()
        page.asked.add(query)
        page.asked_at = now
        answer = _answer(page, query, url)
        if page.task is None or page.task.done():
            good_for = self._settings.good_for_s if answer.image else self._settings.bad_for_s
            wait = page.fetched_at + good_for - now
            # Nobody else comes back for what is missing: then the task itself waits.
            if wait <= 0 or not answer.image:
                page.task = asyncio.create_task(self._keep_asking(url, page, wait))
        return answer

    def _forget(self, now: float) -> None:
        """Drop the pages that nobody has asked for in a while."""
        oldest = now - self._settings.forgotten_after_s
        for url in [url for url, page in self._pages.items() if page.asked_at < oldest]:
            del self._pages[url]

    async def _keep_asking(self, url: str, page: _Page, wait_s: float) -> None:
        """Fetch once, and then for as long as an answer is missing and somebody wants it."""
        await asyncio.sleep(max(wait_s, 0.0))
        pause = self._settings.bad_for_s
        while True:
            was = page.failure
            _turn_to(page, await self._fetch(url))
            if page.failure != was:
                log.warning("update graph", url=url, was=was, now=page.failure)
            told, page.asked = page.asked, set()
            answered = not page.failure and all(_answer(page, q, url).image for q in told)
            page.fetched_at = self._clock()
            for query in told:
                self._on_answer(query)
            if answered:
                return
            await asyncio.sleep(pause)
            if not page.asked:
                return
            pause = min(2 * pause, self._settings.bad_for_at_most_s)

    async def _fetch(self, url: str) -> Mapping[str, str] | _Failure:
        """Request a page; repeat what may pass, each time after twice the pause (with jitter)."""
        pause = self._settings.pause_s
        for _ in range(self._settings.attempts - 1):
            async with self._slots:
                found = await self._request(url)
            if not isinstance(found, _Failure) or not found.passing:
                return found
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
            pause *= 2
        async with self._slots:
            return await self._request(url)

    async def _request(self, url: str) -> Mapping[str, str] | _Failure:
        cannot = f"unable to request update graph on url {url}"
        try:
            async with self._open().get(
                yarl.URL(url, encoded=True), headers={"Accept": "application/json"}
            ) as response:
                if response.status != http.HTTPStatus.OK:
                    text = f"error response from update graph url {url}: {response.status}"
                    return _Failure(text, passing=response.status in _PASSING)
                body = await _read(response, self._settings.largest_answer)
        except TimeoutError:
            return _Failure(f"{cannot}: no answer within {self._settings.timeout_s:g} s", True)
        except ValueError as exc:  # not a URL; goes first: aiohttp's is a ClientError, too
            return _Failure(f"{cannot}: {exc}", passing=False)
        except (aiohttp.ClientError, OSError) as exc:
            return _Failure(f"{cannot}: {str(exc) or type(exc).__name__}", passing=True)
        return _decode(body)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=not self._settings.insecure),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=self._settings.timeout_s),
                trust_env=True,
            )
        return self._session


# Answers that are about the moment, not about the request.
_PASSING: Final = frozenset({408, 429, *range(500, 600)})


def _url(query: GraphQuery) -> str:
    """Put the channel, and the architecture where one is asked for, behind what the upstream has.

    What it has already (`?arch=arm64`) stays.
    """
    asked = {"channel": query.channel} | ({"arch": query.arch} if query.arch else {})
    parameters = "&".join(
        f"{key}={urllib.parse.quote(text, safe='')}" for key, text in asked.items()
    )
    return f"{query.upstream}{'&' if '?' in query.upstream else '?'}{parameters}"


def _turn_to(page: _Page, found: Mapping[str, str] | _Failure) -> None:
    """Take over what was fetched; a failure that may pass leaves the last images standing.

    The image of a release does not change, so the last one heard of is better than none.
    """
    if not isinstance(found, _Failure):
        page.images, page.failure = found, ""
        return
    page.failure = found.text
    if not found.passing:
        page.images = None


def _answer(page: _Page, query: GraphQuery, url: str) -> GraphAnswer:
    image = (page.images or {}).get(query.version, "")
    if image:
        return GraphAnswer(image=image)
    if page.failure:
        return GraphAnswer(error=page.failure)
    if page.images is None:
        return GraphAnswer()
    return GraphAnswer(error=f"unable to find version {query.version} on update graph on url {url}")


async def _read(response: aiohttp.ClientResponse, largest: int) -> bytes:
    """Read a body.  Raises ClientPayloadError when it has more than `largest` bytes."""
    body = bytearray()
    async for chunk in response.content.iter_chunked(2**16):
        body += chunk
        if len(body) > largest:
            raise aiohttp.ClientPayloadError(f"the answer is larger than {largest} bytes")
    return bytes(body)


def _decode(body: bytes) -> Mapping[str, str] | _Failure:
    """Map versions to images: of several nodes of a version the first one with an image."""
    try:
        graph = msgspec.json.decode(body, type=_Graph)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        return _Failure(f"unable to unmarshal body: {exc}", passing=True)
    images: dict[str, str] = {}
    for node in graph.nodes or ():
        if node.version and node.payload:
            images.setdefault(node.version, node.payload)
    return images
