"""MCP, the status page and pings through real proxies with the files of `deploy/proxy`."""

import itertools
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import anyio
import httpx
import pytest
from mcp import Client
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client
from support.mcp_clients import LEGACY, MODERN, Answer, Reader, Target, ask_with_v1_client
from support.pings import Heartbeat
from support.programs import Program, Workshop, workshop
from support.published import KINDS, Behind, Published
from support.sse import EventStream
from support.wait import wait_until

# With the rest of a request's head within 32 KiB.
TOKEN = "t" * 16 * 1024
ALERTS = "monitor://alerts/active"
CLIENT = "127.0.0.7"
# Where a request that is stuck would hide.
SOON = 10
LISTEN = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "subscriptions/listen",
    "params": {
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientCapabilities": {},
        },
        "notifications": {"resourceSubscriptions": [ALERTS]},
    },
}


@dataclass
class Site:
    """What is behind a proxy, and the proxy."""

    place: Workshop
    collector: Program
    gateways: list[Program]
    proxy: Published

    def http(self, token: str | None = None) -> httpx.Client:
        """A client beyond the proxy that has an address of its own."""
        trusted = ssl.create_default_context(cafile=self.proxy.authority)
        transport = httpx.HTTPTransport(verify=trusted, local_address=CLIENT)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        url = self.proxy.url.replace("localhost", "127.0.0.1")
        headers["Host"] = f"localhost:{self.proxy.port}"
        return httpx.Client(base_url=url, transport=transport, headers=headers, timeout=20)

    def calls(self) -> list[int]:
        """How many calls each gateway has answered, by its log."""
        return [gateway.log.count('"tool call"') for gateway in self.gateways]


@pytest.fixture(scope="module", params=KINDS)
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    with workshop() as place:
        believed = {"MAINTENANT_TRUSTED_PROXIES": "127.0.0.1"}
        collector = place.collector("unix:///nowhere", MAINTENANT_RUNTIME="none", **believed)
        gateways = [
            place.gateway(collector.url, MAINTENANT_MCP_TOKEN=TOKEN, **believed) for _ in range(2)
        ]
        behind = Behind([gateway.address for gateway in gateways], collector.address)
        proxy = Published(request.param, behind)
        try:
            yield Site(place, collector, gateways, proxy)
        finally:
            proxy.close()


@pytest.fixture
def trusted(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clients trust the proxy's authority."""
    monkeypatch.setenv("SSL_CERT_FILE", str(site.proxy.authority))


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("era", [LEGACY, MODERN])
def test_mcp_clients_of_both_eras_reach_every_gateway_with_a_long_token(
    site: Site, era: str
) -> None:
    before = site.calls()
    answers: list[Answer] = []

    def answered() -> list[int]:
        return [after - earlier for after, earlier in zip(site.calls(), before, strict=True)]

    def each_has_answered() -> bool:
        answers.append(reader.ask("list_alerts"))
        return len(answers) >= 4 and all(answered())

    reader = Reader(f"{site.proxy.kind} {era}", Target.http(site.proxy.url, TOKEN), era)
    try:
        assert len(reader.tools()) == 18
        # Caddy leaves out for a moment a gateway that took a second to say that it is well.
        wait_until(each_has_answered, "each gateway has answered", context=answered)
    finally:
        reader.close()
    for answer in answers:
        assert not answer.is_error and answer.data["summary"] == {"active": 0}, answer
    assert sum(answered()) == len(answers)


@pytest.mark.usefixtures("trusted")
def test_the_previous_generation_of_the_python_client_too(site: Site) -> None:
    answer = ask_with_v1_client(Target.http(site.proxy.url, TOKEN), "list_alerts")
    assert not answer.is_error, answer.text


@pytest.mark.usefixtures("trusted")
def test_a_client_is_told_at_once_that_it_listens(site: Site) -> None:
    async def story() -> None:
        http = create_mcp_http_client(headers={"Authorization": f"Bearer {TOKEN}"})
        server = streamable_http_client(f"{site.proxy.url}/mcp", http_client=http)
        async with Client(server, mode=MODERN, read_timeout_seconds=20) as client:
            with anyio.fail_after(SOON):
                async with client.listen(resource_subscriptions=[ALERTS]) as heard:
                    assert heard.honored.resource_subscriptions == [ALERTS]

    anyio.run(story)


def test_streams_of_mcp_end_with_their_client(site: Site) -> None:
    def listening(client: httpx.Client) -> httpx.Response | None:
        headers = {
            **mcp_headers(),
            "MCP-Protocol-Version": MODERN,
            "Mcp-Method": "subscriptions/listen",
        }
        answer = client.send(
            client.build_request("POST", "/mcp", json=LISTEN, headers=headers), stream=True
        )
        is_open = answer.headers.get("content-type", "").startswith("text/event-stream")
        if is_open and any("acknowledged" in line for line in first_lines(answer)):
            return answer
        answer.close()
        return None

    # A caller has 8 at each of the two gateways: more can be had only after others have ended.
    ended_with_their_client(site, listening, 20)


def test_streams_of_the_status_page_end_with_their_visitor(site: Site) -> None:
    def visiting(client: httpx.Client) -> httpx.Response | None:
        answer = client.send(client.build_request("GET", "/status/events"), stream=True)
        if answer.status_code == 200:
            return answer
        answer.close()
        return None

    # A visitor has 8.
    ended_with_their_client(site, visiting, 12)


def ended_with_their_client(
    site: Site, opened: Callable[[httpx.Client], httpx.Response | None], times: int
) -> None:
    for _ in range(times):
        with site.http(TOKEN) as client:
            answer = wait_until(lambda: opened(client), "a place for one more")
            EventStream(answer).close()


def first_lines(answer: httpx.Response) -> list[str]:
    """The lines of a stream's first event."""
    return list(itertools.takewhile(bool, answer.iter_lines()))


def test_a_ping_of_any_length_comes_from_its_client_and_its_address_is_in_no_log(
    site: Site,
) -> None:
    rest = site.collector.rest()
    job = Heartbeat.create(rest)
    with site.http() as client:
        path = f"/ping/{job.uuid}"
        forged = {"X-Forwarded-For": "203.0.113.9"}
        assert client.get(path, headers=forged).status_code == 200
        assert client.post(f"{path}/start", content=b"x" * 3_000_000).status_code == 200
        first, second = job.pings()[::-1]
    assert {first["source_ip"], second["source_ip"]} == {CLIENT}
    assert job.uuid not in site.proxy.logs()
    rest.close()


@pytest.mark.parametrize(
    "path",
    ["/", "/api/v1/containers", "/api/v1/health", "/healthz", "/readyz", "/metrics", "/mcp/x"],
)
def test_nothing_else_is_published(site: Site, path: str) -> None:
    with site.http(TOKEN) as client:
        answer = client.get(path)
    assert answer.status_code == 404
    # Nobody behind the proxy was asked: theirs are JSON.
    assert "json" not in answer.headers.get("content-type", "")


@pytest.mark.parametrize("path", ["/status/", "/status/api", "/status/feed.atom"])
def test_the_status_page_is_published(site: Site, path: str) -> None:
    with site.http() as client:
        assert client.get(path).status_code == 200


def test_bodies_that_gateways_hang_up_on_take_none_of_them_away(site: Site) -> None:
    with site.http() as stranger, site.http(TOKEN) as client:
        for size in (100_000, 1_000_000, 3_000_000) * 4:
            refused = stranger.post("/mcp", content=b" " * size, headers=mcp_headers())
            assert refused.status_code in (401, 413, 502), refused.text
            assert call(client).status_code == 200


# --- the last ones: they end what is behind -----------------------------------------------------


def test_calls_go_to_another_gateway_when_one_is_stopped(site: Site) -> None:
    with site.http(TOKEN) as client:
        assert [call(client).status_code for _ in range(4)] == [200] * 4
        site.gateways[0].stop()
        if site.proxy.kind == "caddy":
            # Before 2.11.2, and Debian has an older one, its next check has to find out first.
            wait_until(lambda: [call(client).status_code for _ in range(4)] == [200] * 4, "it has")
        assert [call(client).status_code for _ in range(8)] == [200] * 8


def test_addresses_of_pings_are_in_no_log_when_the_collector_is_away(site: Site) -> None:
    site.collector.stop()
    secret = "4b5f6a52-1111-4222-8333-9fd1c3a1d0aa"
    with site.http() as client:
        for path in (f"/ping/{secret}", f"/ping/{secret}/fail?rid=1"):
            assert client.get(path).status_code == 502
    assert secret not in site.proxy.logs()


def call(client: httpx.Client) -> httpx.Response:
    params = {"name": "get_health", "arguments": {}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    return client.post("/mcp", json=body, headers=mcp_headers())


def mcp_headers() -> dict[str, str]:
    return {
        "Accept": "application/json, text/event-stream",
        "Content-Type": "application/json",
    }
