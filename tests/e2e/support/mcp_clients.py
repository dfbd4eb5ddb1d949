"""Readers: MCP clients of both transports and both protocol eras, callable from plain tests."""

import json
import subprocess
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal
from mcp import Client, StdioServerParameters
from mcp.client import Transport
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client
from mcp_types import CallToolResult

from .places import LEGACY_PYTHON, binary
from .programs import clean_environment

LEGACY, MODERN = "2025-11-25", "2026-07-28"
_MODE = {LEGACY: "legacy", MODERN: MODERN}


@dataclass(frozen=True)
class Target:
    """A server to talk to: a URL, or a program with its settings."""

    url: str | None = None
    program: str | None = None
    arguments: tuple[str, ...] = ("--mcp-stdio",)
    settings: tuple[tuple[str, str], ...] = ()
    token: str | None = None

    @classmethod
    def http(cls, base_url: str, token: str | None = None) -> "Target":
        return cls(url=f"{base_url}/mcp", token=token)

    @classmethod
    def stdio(cls, program: str, settings: Mapping[str, str]) -> "Target":
        return cls(program=program, settings=tuple(settings.items()))


@dataclass(frozen=True)
class Answer:
    """What a tool said."""

    is_error: bool
    text: str
    data: dict[str, Any]


class Reader:
    """One connected MCP client."""

    def __init__(
        self, name: str, target: Target, revision: str, pid_file: Path | None = None
    ) -> None:
        self.name = name
        self._portal_manager: AbstractContextManager[BlockingPortal] = start_blocking_portal()
        self._portal = self._portal_manager.__enter__()
        server = _server(target, pid_file)
        client = Client(server, mode=_MODE[revision], read_timeout_seconds=20)
        self._client_manager = self._portal.wrap_async_context_manager(client)
        try:
            self._client: Client = self._client_manager.__enter__()
        except BaseException:
            self._portal_manager.__exit__(None, None, None)
            raise
        assert self._client.protocol_version == revision, self._client.protocol_version

    def tools(self) -> list[str]:
        """Names of the tools, in the order they are listed."""
        return [tool.name for tool in self._portal.call(self._client.list_tools).tools]

    def ask(self, tool: str, /, **arguments: Any) -> Answer:
        """Calls a tool; the answer may be an error."""
        result: CallToolResult = self._portal.call(self._client.call_tool, tool, arguments)
        text = "\n".join(getattr(block, "text", "") for block in result.content)
        return Answer(bool(result.is_error), text, result.structured_content or {})

    def call(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """The structured answer of a call that must succeed. Its text must say the same."""
        answer = self.ask(tool, **arguments)
        assert not answer.is_error, f"{tool}({arguments}) by {self.name}: {answer.text}"
        assert json.loads(answer.text) == answer.data, f"{tool}: text and structure differ"
        return answer.data

    def refusal(self, tool: str, /, **arguments: Any) -> str:
        """The text of a call that must be refused as a tool error."""
        answer = self.ask(tool, **arguments)
        assert answer.is_error, f"{tool}({arguments}) by {self.name} succeeded: {answer.text}"
        return answer.text

    def close(self) -> None:
        try:
            self._client_manager.__exit__(None, None, None)
        finally:
            self._portal_manager.__exit__(None, None, None)


def _server(target: Target, pid_file: Path | None) -> str | Transport | StdioServerParameters:
    if target.url is not None and target.token is not None:
        headers = {"Authorization": f"Bearer {target.token}"}
        http_client = create_mcp_http_client(headers=headers)
        return streamable_http_client(target.url, http_client=http_client)
    if target.url is not None:
        return target.url
    assert target.program is not None
    command, arguments = str(binary(target.program)), list(target.arguments)
    if pid_file is not None:
        # The client does not tell the process it started; a shell that becomes it does.
        script = 'echo $$ > "$0"; exec "$@"'
        command, arguments = "sh", ["-c", script, str(pid_file), command, *arguments]
    environment = clean_environment(**dict(target.settings))
    return StdioServerParameters(command=command, args=arguments, env=environment)


def ask_with_v1_client(target: Target, tool: str, **arguments: Any) -> Answer:
    """The same call by the previous generation of the Python SDK, which has its own environment."""
    assert LEGACY_PYTHON.is_file(), f"{LEGACY_PYTHON} is missing; `tests/run` makes it"
    order: dict[str, Any] = {"tool": tool, "arguments": arguments, "url": target.url}
    order["token"] = target.token
    if target.program is not None:
        order["command"] = str(binary(target.program))
        order["args"] = list(target.arguments)
        order["env"] = clean_environment(**dict(target.settings))
    script = Path(__file__).with_name("v1_client.py")
    done = subprocess.run(
        [LEGACY_PYTHON, script],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["protocol"] == LEGACY, said
    return Answer(said["is_error"], said["text"], said["data"] or {})
