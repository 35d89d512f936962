"""The update graph's client against a real HTTP server: slow, broken, escaped, proxied."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import trustme
from aiohttp import web
from structlog.testing import capture_logs

from talm.core.model import GraphAnswer, GraphQuery
from talm.hub.graph import GraphSettings, UpdateGraph

GOOD = {"nodes": [{"version": "4.14.1", "payload": "release@sha256:1"}]}
QUICK = GraphSettings(pause_s=0.001, bad_for_s=0.001, bad_for_at_most_s=0.002)
PATIENT_S = 30.0  # far more than anything here takes; it only ends a test that hangs

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@pytest.fixture(autouse=True)
def no_proxy_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


class Server:
    """A graph of which a test says what it answers; it keeps what it was asked."""

    def __init__(self) -> None:
        self.answer: Handler = self.good
        self.asked: list[str] = []
        self.accepted: list[str] = []
        self.url = ""

    async def good(self, _request: web.BaseRequest) -> web.StreamResponse:
        return web.json_response(GOOD)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append(request.raw_path)
        self.accepted.append(request.headers["Accept"])
        return await self.answer(request)

    def says(self, status: int = 200, body: object = GOOD, text: str | None = None) -> None:
        async def answer(_request: web.BaseRequest) -> web.StreamResponse:
            if text is not None:
                return web.Response(status=status, text=text)
            return web.json_response(body, status=status)

        self.answer = answer

    async def start(self, tls: ssl.SSLContext | None = None) -> web.ServerRunner:
        runner = web.ServerRunner(web.Server(self.handle))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        port = runner.addresses[0][1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}/graph"
        return runner

    def query(self, version: str = "4.14.1", channel: str = "stable-4.14") -> GraphQuery:
        return GraphQuery(self.url, channel, version)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    runner = await server.start()
    yield server
    await runner.cleanup()


class Client:
    """An UpdateGraph with a clock that stands still, and everything that it has told."""

    def __init__(self, settings: GraphSettings) -> None:
        self.now = 1000.0
        self.told: asyncio.Queue[GraphQuery] = asyncio.Queue()
        self.graph = UpdateGraph(settings, self.told.put_nowait, clock=lambda: self.now)

    def ask(self, query: GraphQuery) -> GraphAnswer:
        return self.graph.ask(query)

    async def hear(self, query: GraphQuery) -> GraphAnswer:
        """Ask, and once more when told to."""
        first = self.ask(query)
        if first == GraphAnswer():
            await self.next()
        return self.ask(query)

    async def next(self) -> GraphQuery:
        return await asyncio.wait_for(self.told.get(), PATIENT_S)

    async def until(self, query: GraphQuery, wanted: GraphAnswer) -> None:
        while self.ask(query) != wanted:
            await self.next()


@pytest.fixture
async def connect() -> AsyncIterator[Callable[..., Client]]:
    clients: list[Client] = []

    def make(settings: GraphSettings = QUICK) -> Client:
        clients.append(Client(settings))
        return clients[-1]

    with capture_logs():
        yield make
        for client in clients:
            await client.graph.close()


Connect = Callable[..., Client]
IMAGE = GraphAnswer(image="release@sha256:1")


async def test_an_answer_is_not_waited_for_and_told_when_it_is_there(
    server: Server, connect: Connect
) -> None:
    client = connect()
    query = server.query()
    assert client.ask(query) == GraphAnswer()
    assert server.asked == []
    assert await client.next() == query
    assert client.ask(query) == IMAGE
    assert server.asked == ["/graph?channel=stable-4.14"]
    assert server.accepted == ["application/json"]


async def test_the_channel_is_escaped_and_goes_behind_what_the_upstream_has(
    server: Server, connect: Connect
) -> None:
    client = connect()
    await client.hear(server.query(channel="a b&c=d/é"))
    await client.hear(GraphQuery(f"{server.url}?arch=arm64", "x", "4.14.1"))
    await client.hear(GraphQuery(server.url, "x", "4.14.1", arch="multi"))
    assert server.asked == [
        "/graph?channel=a%20b%26c%3Dd%2F%C3%A9",
        "/graph?arch=arm64&channel=x",
        "/graph?channel=x&arch=multi",
    ]


async def test_one_request_serves_everybody_who_asks_meanwhile(
    server: Server, connect: Connect
) -> None:
    let_go = asyncio.Event()

    async def slow(_request: web.BaseRequest) -> web.StreamResponse:
        await let_go.wait()
        return web.json_response(GOOD)

    server.answer = slow
    client = connect()
    one, other = server.query(), server.query(version="4.14.2")
    assert [client.ask(q) for q in (one, other, one)] == [GraphAnswer()] * 3
    let_go.set()
    assert {await client.next(), await client.next()} == {one, other}
    assert len(server.asked) == 1
    assert client.ask(one) == IMAGE


async def test_no_more_requests_are_under_way_than_allowed(
    server: Server, connect: Connect
) -> None:
    running = most = 0

    async def count(_request: web.BaseRequest) -> web.StreamResponse:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(20):
            await asyncio.sleep(0)
        running -= 1
        return web.json_response(GOOD)

    server.answer = count
    client = connect(GraphSettings(concurrency=2))
    queries = [server.query(channel=f"c{n}") for n in range(8)]
    for query in queries:
        client.ask(query)
    assert {await client.next() for _ in queries} == set(queries)
    assert len(server.asked) == 8
    assert 1 <= most <= 2


async def test_of_several_nodes_of_a_version_the_first_with_an_image_counts(
    server: Server, connect: Connect
) -> None:
    nodes = [
        {"version": "4.14.2"},
        {"version": "4.14.1", "payload": None},
        {"version": "4.14.1", "payload": ""},
        {"version": "4.14.1", "payload": "first", "metadata": {"more": 1}},
        {"version": "4.14.1", "payload": "second"},
    ]
    server.says(body={"nodes": nodes, "edges": [[0, 1]]})
    assert await connect().hear(server.query()) == GraphAnswer(image="first")


@pytest.mark.parametrize("body", [GOOD, {}, {"nodes": None}], ids=["others", "none", "null"])
async def test_a_version_that_is_not_there_is_an_error(
    server: Server, connect: Connect, body: object
) -> None:
    server.says(body=body)
    url = f"{server.url}?channel=stable-4.14"
    assert await connect().hear(server.query(version="4.99.0")) == GraphAnswer(
        error=f"unable to find version 4.99.0 on update graph on url {url}"
    )


async def test_a_version_that_comes_later_is_found_without_anybody_else_asking(
    server: Server, connect: Connect
) -> None:
    client = connect()
    await client.until(server.query(), IMAGE)
    late = server.query(version="4.14.2")
    assert "unable to find version" in client.ask(late).error
    server.says(body={"nodes": [{"version": "4.14.2", "payload": "late"}]})
    await client.until(late, GraphAnswer(image="late"))


@pytest.mark.parametrize(("status", "requests"), [(404, 1), (403, 1), (503, 3), (429, 3)])
async def test_an_error_answer_is_named_and_repeated_only_when_it_may_pass(
    server: Server, connect: Connect, status: int, requests: int
) -> None:
    server.says(status=status)
    client = connect(GraphSettings(pause_s=0.001))
    assert await client.hear(server.query()) == GraphAnswer(
        error=f"error response from update graph url {server.url}?channel=stable-4.14: {status}"
    )
    assert len(server.asked) == requests


async def test_a_failure_that_passes_is_never_told(server: Server, connect: Connect) -> None:
    async def third_time(_request: web.BaseRequest) -> web.StreamResponse:
        return web.json_response(GOOD, status=200 if len(server.asked) > 2 else 500)

    server.answer = third_time
    assert await connect().hear(server.query()) == IMAGE


@pytest.mark.parametrize("text", ["<html>", '{"nodes": 7}', '{"nodes": [{"version": 4}]}', ""])
async def test_garbage_is_named(server: Server, connect: Connect, text: str) -> None:
    server.says(text=text)
    found = await connect(GraphSettings(attempts=1)).hear(server.query())
    assert found.error.startswith("unable to unmarshal body: ")


async def test_an_answer_without_end_is_cut(server: Server, connect: Connect) -> None:
    server.says(text=" " * 200_000)
    client = connect(GraphSettings(attempts=1, largest_answer=1000))
    found = await client.hear(server.query())
    assert found.error.endswith(": the answer is larger than 1000 bytes")


async def test_a_graph_that_never_answers_is_given_up(server: Server, connect: Connect) -> None:
    never = asyncio.Event()

    async def hang(_request: web.BaseRequest) -> web.StreamResponse:
        await never.wait()
        return web.Response()

    server.answer = hang
    found = await connect(GraphSettings(attempts=1, timeout_s=0.05)).hear(server.query())
    never.set()
    url = f"{server.url}?channel=stable-4.14"
    assert found.error == (f"unable to request update graph on url {url}: no answer within 0.05 s")


@pytest.mark.parametrize(
    "upstream", ["http://127.0.0.1:1/graph", "http:// /", "ftp://a/b", "", "a:b:c"]
)
async def test_a_graph_that_cannot_be_reached_is_named(connect: Connect, upstream: str) -> None:
    query = GraphQuery(upstream, "x", "4.14.1")
    found = await connect(GraphSettings(attempts=1)).hear(query)
    start = f"unable to request update graph on url {upstream}?channel=x: "
    assert found.error.startswith(start)
    assert len(found.error) > len(start)


async def test_an_error_is_looked_into_again_while_somebody_wants_the_answer(
    server: Server, connect: Connect
) -> None:
    server.says(status=404)
    client = connect()
    query = server.query()
    assert "404" in (await client.hear(query)).error
    assert "404" in client.ask(query).error
    server.says()
    await client.until(query, IMAGE)


async def test_nobody_is_asked_again_for_an_answer_that_nobody_wants(
    server: Server, connect: Connect
) -> None:
    server.says(status=404)
    client = connect()
    client.ask(server.query())
    await client.next()
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    pending = [task for task in tasks if "_keep_asking" in repr(task.get_coro())]
    await asyncio.wait_for(asyncio.gather(*pending), PATIENT_S)
    assert len(server.asked) == 1


async def test_an_image_is_kept_for_its_time_and_then_asked_for_behind_its_back(
    server: Server, connect: Connect
) -> None:
    client = connect(GraphSettings(good_for_s=300))
    query = server.query()
    assert await client.hear(query) == IMAGE
    client.now += 299
    assert client.ask(query) == IMAGE
    assert len(server.asked) == 1
    server.says(body={"nodes": [{"version": "4.14.1", "payload": "moved"}]})
    client.now += 2
    assert client.ask(query) == IMAGE
    await client.until(query, GraphAnswer(image="moved"))
    assert len(server.asked) == 2


async def test_an_image_stands_while_its_graph_is_down_but_not_once_it_is_gone(
    server: Server, connect: Connect
) -> None:
    client = connect()
    query = server.query()
    assert await client.hear(query) == IMAGE
    server.says(status=503)
    client.now += 10_000
    assert client.ask(query) == IMAGE
    await client.next()
    assert client.ask(query) == IMAGE
    assert "503" in client.ask(server.query(version="4.14.2")).error
    server.says(status=404)
    gone = f"error response from update graph url {server.url}?channel=stable-4.14: 404"
    await client.until(query, GraphAnswer(error=gone))


async def test_pages_that_nobody_asks_for_are_forgotten(server: Server, connect: Connect) -> None:
    client = connect(GraphSettings(forgotten_after_s=3600))
    await client.hear(server.query(channel="old"))
    client.now += 3601
    await client.hear(server.query(channel="new"))
    assert await client.hear(server.query(channel="old")) == IMAGE
    assert [path[-3:] for path in server.asked] == ["old", "new", "old"]


async def test_the_proxy_of_the_environment_is_used(
    server: Server, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url.removesuffix("/graph"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    far = GraphQuery("http://graph.invalid/api", "x", "4.14.1")
    client = connect(GraphSettings(attempts=1))
    assert await client.hear(far) == IMAGE
    assert server.asked == ["http://graph.invalid/api?channel=x"]
    direct = GraphQuery("http://127.0.0.1:1/api", "x", "4.14.1")
    assert "unable to request" in (await client.hear(direct)).error
    assert len(server.asked) == 1


@pytest.mark.parametrize("insecure", [False, True])
async def test_certificates_are_verified_unless_told_not_to(
    connect: Connect, insecure: bool
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    server = Server()
    runner = await server.start(context)
    found = await connect(GraphSettings(attempts=1, insecure=insecure)).hear(server.query())
    await runner.cleanup()
    if insecure:
        assert found == IMAGE
    else:
        assert "CERTIFICATE_VERIFY_FAILED" in found.error


async def test_nothing_is_told_after_the_end(server: Server) -> None:
    told: list[GraphQuery] = []
    async with UpdateGraph(QUICK, told.append) as graph:
        graph.ask(server.query())
    assert told == []
    async with UpdateGraph(QUICK, told.append):
        pass
