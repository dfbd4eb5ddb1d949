"""Clients of several makers, each with a bearer token: one of an issuer, and the static one."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from conftest import System
from support.issuers import SCOPES, Issuer
from support.mcp_clients import LEGACY, MODERN, Reader, Target, ask_with_v1_client
from support.nginx import free_port
from support.panva import Panva
from support.places import NODE_MODULES
from support.programs import Program, clean_environment, workshop
from support.typescript import GENERATIONS, NODE, typescript

STATIC = "a-static-token-of-the-tests-0123456789"
INSPECTOR = NODE_MODULES / ".bin" / "mcp-inspector"


@dataclass
class Guarded:
    """A gateway that asks for a token, and the tokens it takes."""

    gateway: Program
    issuer: Issuer
    tokens: dict[str, str]

    @property
    def url(self) -> str:
        return f"{self.gateway.url}/mcp"


@pytest.fixture(scope="module")
def guarded(system: System) -> Iterator[Guarded]:
    """The public URL is where it listens: the clients compare it with the metadata."""
    issuer = Panva()
    try:
        with workshop() as place:
            address = f"127.0.0.1:{free_port()}"
            gateway = place.gateway(
                system.collector.url,
                MAINTENANT_ADDR=address,
                MAINTENANT_BASE_URL=f"http://{address}",
                MAINTENANT_MCP_ISSUER=issuer.name,
                MAINTENANT_MCP_SCOPES="true",
                MAINTENANT_MCP_TOKEN=STATIC,
            )
            gateway.until_ready()
            audience = f"{gateway.url}/mcp"
            everything = issuer.person(scope=" ".join(SCOPES), audience=audience).access
            narrow = issuer.machine(scope=SCOPES[0], audience=audience).access
            tokens = {"issued": everything, "static": STATIC, "narrow": narrow}
            yield Guarded(gateway, issuer, tokens)
    finally:
        issuer.close()


@pytest.mark.parametrize("kind", ["issued", "static"])
@pytest.mark.parametrize("era", [LEGACY, MODERN])
def test_python(guarded: Guarded, kind: str, era: str) -> None:
    target = Target.http(guarded.gateway.url, guarded.tokens[kind])
    reader = Reader(f"{kind} {era}", target, era)
    try:
        assert len(reader.tools()) == 18
        assert "containers" in reader.call("list_containers")
    finally:
        reader.close()


@pytest.mark.parametrize("kind", ["issued", "static"])
def test_python_of_the_previous_generation(guarded: Guarded, kind: str) -> None:
    target = Target.http(guarded.gateway.url, guarded.tokens[kind])
    answer = ask_with_v1_client(target, "list_containers")
    assert not answer.is_error and "containers" in answer.data


@pytest.mark.parametrize("kind", ["issued", "static"])
@pytest.mark.parametrize(("sdk", "revision"), GENERATIONS)
def test_typescript(guarded: Guarded, sdk: str, revision: str, kind: str) -> None:
    order = {"sdk": sdk, "revision": revision, "token": guarded.tokens[kind]}
    said = typescript(guarded.url, **order, tool="list_containers")
    assert said["ok"] and not said["is_error"], said
    assert len(said["tools"]) == 18 and "containers" in said["data"]


@pytest.mark.parametrize(("sdk", "revision"), GENERATIONS)
def test_typescript_is_told_what_a_narrow_token_lacks(
    guarded: Guarded, sdk: str, revision: str
) -> None:
    order = {"sdk": sdk, "revision": revision, "token": guarded.tokens["narrow"]}
    said = typescript(
        guarded.url, **order, tool="get_container_logs", arguments={"container_id": "1"}
    )
    assert not said["ok"], said
    if sdk == "v2":
        assert said["kind"] == "InsufficientScopeError", said
    assert "logs:read" in said["message"], said


def test_typescript_finds_the_issuer(guarded: Guarded) -> None:
    said = typescript(guarded.url)
    assert said["ok"], said
    metadata = f"{guarded.gateway.url}/.well-known/oauth-protected-resource/mcp"
    assert said["challenge"]["resourceMetadataUrl"] == metadata
    assert said["metadata"]["resource"] == guarded.url
    assert said["metadata"]["authorization_servers"] == [guarded.issuer.name]


@pytest.mark.parametrize("kind", ["issued", "static"])
@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_the_inspector(guarded: Guarded, era: str, kind: str) -> None:
    assert INSPECTOR.exists() and NODE.exists(), "tests/run installs the Inspector with npm"
    command = [str(NODE), str(INSPECTOR), "--cli", guarded.url, "--transport", "http"]
    command += ["--protocol-era", era, "--format", "json", "-q", "--stored-auth-only"]
    command += ["--header", f"Authorization: Bearer {guarded.tokens[kind]}"]
    command += ["--method", "tools/call", "--tool-name", "get_health", "--tool-args-json", "{}"]
    done = subprocess.run(
        command,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)["result"]
    assert result["structuredContent"]["status"] == "ok", result
