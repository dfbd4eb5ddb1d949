"""Beside the tools: resources, prompts, completions, and word of alerts as they come."""

import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from urllib.parse import quote

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
from conftest import System
from mcp import Client, MCPError, StdioServerParameters
from mcp_types import PromptReference, ResourceTemplateReference
from support.docker import Docker
from support.mcp_clients import MODERN
from support.places import binary
from support.programs import clean_environment, workshop
from support.wait import wait_until

OVERVIEW, ALERTS = "monitor://overview", "monitor://alerts/active"
PROMPTS = ["certificate_review", "triage", "weekly_report", "what_changed"]
Story = Callable[[Client], Awaitable[None]]


@pytest.fixture(scope="module")
def noticing(docker: Docker) -> Iterator[System]:
    """A system that opens alerts soon."""
    with workshop() as place:
        system = System(place, docker.host, MAINTENANT_CONTAINER_DOWN_AFTER="1s")
        try:
            # What had ended before it looked would be no news.
            system.rest.until_connected(True)
            yield system
        finally:
            system.close()


def stdio(system: System) -> StdioServerParameters:
    environment = clean_environment(MAINTENANT_URL=system.collector.url)
    command = str(binary("maintenant-gateway"))
    return StdioServerParameters(command=command, args=["--mcp-stdio"], env=environment)


def tell(system: System, transport: str, mode: str, story: Story) -> None:
    """Runs a story with a client of that transport and era."""

    async def told() -> None:
        server = f"{system.gateway.url}/mcp" if transport == "http" else stdio(system)
        with anyio.fail_after(60):
            async with Client(server, mode=mode, read_timeout_seconds=20) as client:
                await story(client)

    anyio.run(told)


async def read(client: Client, uri: str) -> dict[str, Any]:
    """The contents of a resource, past any cache of the client."""
    result = await client.read_resource(uri, cache_mode="bypass")
    (contents,) = result.contents
    assert contents.mime_type == "application/json"
    return json.loads(contents.text)


async def offered(
    client: Client, reference: PromptReference | ResourceTemplateReference, typed: dict[str, str]
) -> list[str]:
    """What an argument is completed to. Of a collector that is slow for once that is nothing."""

    def values() -> list[str]:
        return anyio.from_thread.run(client.complete, reference, typed).completion.values

    return await anyio.to_thread.run_sync(wait_until, values, f"{typed} is completed")


@pytest.mark.parametrize("transport", ["http", "stdio"])
def test_a_crash_reaches_who_listens(noticing: System, docker: Docker, transport: str) -> None:
    name = docker.name(f"heard-{transport}")

    async def story(client: Client) -> None:
        async with client.listen(resource_subscriptions=[ALERTS, OVERVIEW, "file:///x"]) as heard:
            assert heard.honored.resource_subscriptions == [ALERTS, OVERVIEW]
            await anyio.to_thread.run_sync(docker.shell, name, "sleep 1; exit 7")
            updated = set()
            async for event in heard:
                updated.add(event.uri)
                alerts = (await read(client, ALERTS))["alerts"]
                ours = [alert for alert in alerts if alert["entity_name"] == name]
                if ours and updated == {ALERTS, OVERVIEW}:
                    break
        page = await read(client, OVERVIEW)
        # Other tests have containers in trouble too, and the page shows few.
        assert page["containers"]["worst"] and page["alerts"]["worst"], page

    tell(noticing, transport, MODERN, story)


def test_listening_ends_in_an_orderly_way_with_the_gateway(noticing: System) -> None:
    gateway = noticing.place.gateway(noticing.collector.url)

    async def story() -> None:
        async with Client(f"{gateway.url}/mcp", mode=MODERN, read_timeout_seconds=20) as client:
            async with client.listen(resource_subscriptions=[ALERTS]) as heard:
                await anyio.to_thread.run_sync(gateway.stop)
                with anyio.fail_after(10):
                    # It is not lost, which would be an error here.
                    async for _ in heard:
                        pass

    anyio.run(story)


@pytest.mark.parametrize("mode", ["legacy", MODERN])
@pytest.mark.parametrize("transport", ["http", "stdio"])
def test_resources_prompts_and_completions_are_served(
    noticing: System, docker: Docker, transport: str, mode: str
) -> None:
    name = docker.name(f"named-{transport}-{mode}")
    docker.run(name)
    noticing.rest.until(name, state="running")

    async def story(client: Client) -> None:
        uris = [resource.uri for resource in (await client.list_resources()).resources]
        assert [str(uri) for uri in uris] == [ALERTS, OVERVIEW]
        page = await read(client, OVERVIEW)
        assert page["monitoring"]["status"] == "ok"
        one = await read(client, f"monitor://containers/{quote(name, safe='')}")
        assert (one["container"]["name"], one["container"]["state"]) == (name, "running")
        with pytest.raises(MCPError) as missing:
            await read(client, "monitor://containers/no%2Fsuch%3Fthing")
        assert missing.value.error.data == {"uri": "monitor://containers/no%2Fsuch%3Fthing"}

        prompts = (await client.list_prompts()).prompts
        assert [prompt.name for prompt in prompts] == PROMPTS
        text = (await client.get_prompt("what_changed", {"since": "2h"})).messages[0].content.text
        assert "changed since `2h`" in text

        template = ResourceTemplateReference(uri="monitor://containers/{name}")
        assert name in await offered(client, template, {"name": "name", "value": name[:-1]})
        prompt = PromptReference(name="triage")
        assert await offered(client, prompt, {"name": "container", "value": name}) == [name]

    tell(noticing, transport, mode, story)
