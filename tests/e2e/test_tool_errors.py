"""A wrong call is answered with what would be a right one."""

import pytest
from mcp import MCPError
from support.docker import Docker
from support.mcp_clients import Reader
from support.rest import Rest

TOOLS = [
    "acknowledge_alert",
    "create_incident",
    "create_maintenance",
    "get_container",
    "get_container_logs",
    "get_endpoint_history",
    "get_health",
    "get_resources",
    "get_top_consumers",
    "get_updates",
    "list_alerts",
    "list_certificates",
    "list_containers",
    "list_endpoints",
    "list_heartbeats",
    "pause_monitor",
    "resume_monitor",
    "update_incident",
]


@pytest.fixture(scope="module")
def checkout(docker: Docker, rest: Rest) -> str:
    name = docker.name("checkout")
    docker.run(name)
    rest.until(name)
    return name


def test_the_tools_are_these(reader: Reader) -> None:
    assert reader.tools() == TOOLS


@pytest.mark.parametrize("tool", ["get_container", "get_container_logs"])
def test_an_unknown_container_is_refused_with_the_nearest_name(
    reader: Reader, checkout: str, tool: str
) -> None:
    text = reader.refusal(tool, container_id=checkout.replace("checkout", "chekout"))
    assert checkout in text, text


def test_too_many_lines_are_refused_with_the_accepted_range(reader: Reader, checkout: str) -> None:
    text = reader.refusal("get_container_logs", container_id=checkout, lines=5000)
    assert "lines" in text and "5000" in text and "1000" in text and "1 " in text, text


def test_a_misspelt_argument_is_named_with_the_right_ones(reader: Reader) -> None:
    text = reader.refusal("list_containers", gruop="x")
    assert "gruop" in text and "group" in text, text


def test_an_argument_of_the_wrong_type_is_named(reader: Reader, checkout: str) -> None:
    text = reader.refusal("get_container_logs", container_id=checkout, lines="many")
    assert "lines" in text and "number" in text, text


def test_an_unknown_state_is_refused_with_the_known_ones(reader: Reader) -> None:
    text = reader.refusal("list_containers", state="runing")
    assert "`running`" in text and "exited" in text, text


def test_a_bad_pattern_is_refused_as_such(reader: Reader, checkout: str) -> None:
    text = reader.refusal("get_container_logs", container_id=checkout, grep="(")
    assert "grep" in text, text


def test_an_unknown_tool_is_a_protocol_error_that_names_near_ones(reader: Reader) -> None:
    with pytest.raises(MCPError, match="list_containers"):
        reader.ask("list_container")
