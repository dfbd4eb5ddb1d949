"""The MCP Inspector, a third client, accepts the tools and their schemas."""

import json
import subprocess

import pytest
from conftest import System
from support.places import NODE_MODULES, binary
from support.programs import clean_environment

NODE = NODE_MODULES / "node" / "bin" / "node"
INSPECTOR = NODE_MODULES / ".bin" / "mcp-inspector"


def inspect(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """One run of the Inspector's command line."""
    assert INSPECTOR.exists() and NODE.exists(), "tests/run installs the Inspector with npm"
    return subprocess.run(
        [NODE, INSPECTOR, "--cli", *arguments],
        env=clean_environment(**settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_the_schemas_are_portable_on_stdio(system: System, era: str) -> None:
    done = inspect(
        str(binary("maintenant-gateway")),
        "--mcp-stdio",
        *("-e", f"MAINTENANT_URL={system.collector.url}"),
        *("--protocol-era", era, "--method", "tools/list", "--strict", "--format", "json"),
    )
    assert done.returncode == 0, done.stderr
    tools = json.loads(done.stdout)["result"]["tools"]
    assert {tool["name"] for tool in tools} >= {"list_containers", "get_container_logs"}
    assert "unknown format" not in done.stderr


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_a_tool_is_called_over_http(system: System, era: str) -> None:
    done = inspect(
        f"{system.gateway.url}/mcp",
        *("--transport", "http", "--protocol-era", era, "--format", "json", "-q"),
        *("--method", "tools/call", "--tool-name", "get_health", "--tool-args-json", "{}"),
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)["result"]
    assert result.get("isError", False) is False, result
    assert result["structuredContent"]["status"] == "ok", result
