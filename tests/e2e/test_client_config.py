"""`client-config`: what it prints is taken by a real MCP client and leads to an answer."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.mcp_clients import MODERN, Reader, Target
from support.pki import authority, server, write
from support.programs import Ended, Workshop, run_to_end
from support.sshd import HOST, Sshd

TOKEN = "correct-horse-battery-staple-canary"
MCP_TOKEN = "canary-0123456789abcdef0123456789abcdef"
CLIENTS = ("claude-code", "claude-desktop", "cursor", "vscode", "windsurf")


def printed(place: Workshop, client: str, *arguments: str, **settings: str) -> dict[str, Any]:
    """The one server of what is printed for this client."""
    ended = run_client_config(place, "--client", client, *arguments, **settings)
    assert ended.code == 0, ended
    assert len(ended.stderr.splitlines()) == 1, ended
    servers = json.loads(ended.stdout)["servers" if client == "vscode" else "mcpServers"]
    assert list(servers) == ["maintenant"], ended
    return dict(servers["maintenant"])


def run_client_config(
    place: Workshop, *arguments: str, program: str = "maintenant-gateway", **settings: str
) -> Ended:
    ended = run_to_end(program, "client-config", *arguments, cwd=place.folder, **settings)
    assert "canary" not in ended.stdout + ended.stderr, ended
    return ended


@contextmanager
def started(entry: dict[str, Any], **settings: str) -> Iterator[Reader]:
    """The program of a printed entry, started as a client starts it: with its variables, in a
    folder of its own."""
    environment = {**entry.get("env", {}), **settings}
    target = Target(
        program=shutil.which(entry["command"]),
        arguments=tuple(entry["args"]),
        settings=tuple(environment.items()),
    )
    reader = Reader("a printed configuration", target, MODERN)
    try:
        yield reader
    finally:
        reader.close()


def answers(entry: dict[str, Any], **settings: str) -> None:
    with started(entry, **settings) as reader:
        health = reader.call("get_health")
        assert health["status"] == "ok", health


@pytest.mark.parametrize("client", CLIENTS)
def test_the_printed_program_answers_over_tls_with_a_token_and_a_private_ca(
    place: Workshop, client: str
) -> None:
    own = authority("Private Root")
    chain, key = write(place.folder, "server", server(own, sans=("127.0.0.1",)))
    ca, token = place.folder / "our ca.pem", place.folder / "token"
    ca.write_text(own.pem)
    token.write_text(f"{TOKEN}\n")
    collector = place.collector(
        "",
        MAINTENANT_RUNTIME="none",
        MAINTENANT_API_TOKEN=TOKEN,
        MAINTENANT_TLS_CERT=str(chain),
        MAINTENANT_TLS_KEY=str(key),
    )
    settings = {"MAINTENANT_URL": collector.url, "MAINTENANT_CA_CERT": "our ca.pem"}
    entry = printed(place, client, "--api-token-file=token", **settings)
    assert Path(entry["command"]).is_absolute(), entry
    answers(entry)


def test_a_secret_that_the_client_looks_up_is_enough(place: Workshop) -> None:
    collector = place.collector("", MAINTENANT_RUNTIME="none", MAINTENANT_API_TOKEN=TOKEN)
    settings = {"MAINTENANT_URL": collector.url, "MAINTENANT_API_TOKEN": TOKEN}
    entry = printed(place, "cursor", **settings)
    assert entry["env"]["MAINTENANT_API_TOKEN"] == "${env:MAINTENANT_API_TOKEN}", entry
    answers(entry, MAINTENANT_API_TOKEN=TOKEN)


def test_the_printed_address_and_header_are_let_in(place: Workshop) -> None:
    collector = place.collector("", MAINTENANT_RUNTIME="none")
    gateway = place.gateway(collector.url, MAINTENANT_MCP_TOKEN=MCP_TOKEN)
    settings = {"MAINTENANT_URL": f"{gateway.url}/mcp", "MAINTENANT_MCP_TOKEN": MCP_TOKEN}
    entry = printed(place, "claude-code", **settings)
    assert entry["headers"] == {"Authorization": "Bearer ${MAINTENANT_MCP_TOKEN}"}, entry
    token = entry["headers"]["Authorization"].removeprefix("Bearer ")
    reader = Reader(
        "a printed address",
        Target(url=entry["url"], token=token.replace("${MAINTENANT_MCP_TOKEN}", MCP_TOKEN)),
        MODERN,
    )
    try:
        assert reader.call("get_health")["status"] == "ok"
    finally:
        reader.close()
    refused = httpx.post(entry["url"], json={}, trust_env=False)
    assert refused.status_code == 401, refused.text


def test_both_programs_in_one_are_started_on_their_database(place: Workshop) -> None:
    settings = {"MAINTENANT_DB": "own.db", "MAINTENANT_RUNTIME": "none"}
    settings["MAINTENANT_ADDR"] = "127.0.0.1:0"
    entry = printed(place, "vscode", program="maintenant", **settings)
    assert entry["env"] == {"MAINTENANT_DB": str(place.folder / "own.db")}, entry
    with started(entry, MAINTENANT_RUNTIME="none", MAINTENANT_ADDR="127.0.0.1:0") as reader:
        assert reader.call("get_health")["runtime"] == "none"
    assert (place.folder / "own.db").is_file()


def test_an_unknown_client_is_told_the_known_ones_and_a_marked_place_says_what_is_missing(
    place: Workshop,
) -> None:
    ended = run_client_config(place, "--client", "emacs")
    assert ended.code == 64 and not ended.stdout, ended
    assert all(client in ended.stderr for client in CLIENTS), ended
    ended = run_client_config(place, "--client", "cursor")
    assert "<URL of the collector>" in ended.stdout and "<angle brackets>" in ended.stderr, ended


@pytest.fixture(scope="module")
def sshd() -> Iterator[Sshd]:
    """A machine that is reached by ssh."""
    machine = Sshd()
    try:
        yield machine
    finally:
        machine.close()


def on_a_socket(place: Workshop) -> Path:
    """A collector that listens on a unix socket alone; the path needs quotes in a shell."""
    folder = place.folder / "far away"
    folder.mkdir()
    address = folder / "m.sock"
    place.collector("", MAINTENANT_RUNTIME="none", MAINTENANT_ADDR=f"unix:{address}")
    place.programs[-1].until_listening()
    return address


def test_a_socket_that_ssh_forwards_is_a_collector(place: Workshop, sshd: Sshd) -> None:
    near = place.folder / "m.sock"
    tunnel = sshd.forward(near, on_a_socket(place))
    try:
        answers(printed(place, "claude-desktop", MAINTENANT_URL=f"unix:{near}"))
    finally:
        tunnel.terminate()
        tunnel.wait()


def test_the_gateway_is_started_over_ssh(place: Workshop, sshd: Sshd) -> None:
    far = on_a_socket(place)
    entry = printed(place, "windsurf", "--ssh", HOST, MAINTENANT_URL=f"unix:{far}")
    assert entry["command"] == "ssh", entry
    # A bare `ssh` is looked for in the client's own PATH.
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(os.environ, "PATH", sshd.path)
        answers(entry)


def test_ssh_that_is_not_let_in_ends_instead_of_asking(place: Workshop, sshd: Sshd) -> None:
    entry = printed(place, "windsurf", "--ssh", "nobody@host", MAINTENANT_URL="unix:/x.sock")
    ssh = [f"{sshd.folder}/bin/ssh", *entry["args"]]
    done = subprocess.run(ssh, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 255 and "Permission denied" in done.stderr, done
