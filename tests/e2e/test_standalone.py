"""`maintenant`: collector and gateway in one process, and several of them on one database."""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from support.docker import Docker
from support.mcp_clients import LEGACY, MODERN, Reader, Target
from support.programs import Program, Workshop
from support.rest import Rest
from support.tools import health, listed, listing, until_running
from support.wait import wait_until


@pytest.mark.parametrize("revision", [LEGACY, MODERN])
def test_rest_and_mcp_are_served_on_one_port(
    place: Workshop, docker: Docker, revision: str
) -> None:
    program = place.start(
        "maintenant",
        MAINTENANT_DB=str(place.database),
        DOCKER_HOST=docker.host,
        MAINTENANT_MCP="true",
    )
    name = docker.name(f"alone-{revision}")
    docker.run(name)
    program.rest().until(name, state="running")
    reader = Reader("standalone", Target.http(program.url), revision)
    try:
        until_running(reader, name)
    finally:
        reader.close()
    program.stop()


TOKEN = "correct-horse-battery-staple"


@pytest.fixture
def guarded(place: Workshop, docker: Docker) -> Program:
    """One that asks for a token."""
    return place.start(
        "maintenant",
        MAINTENANT_DB=str(place.database),
        DOCKER_HOST=docker.host,
        MAINTENANT_MCP="true",
        MAINTENANT_API_TOKEN=TOKEN,
    )


@pytest.mark.parametrize("token", [None, "wrong-guess"], ids=["none", "wrong"])
def test_mcp_asks_for_the_token_too(guarded: Program, token: str | None) -> None:
    headers = {"Accept": "application/json, text/event-stream"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    answer = httpx.post(f"{guarded.url}/mcp", json=call, headers=headers)
    assert answer.status_code == 401, answer.text
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert TOKEN not in answer.text and "wrong-guess" not in answer.text
    guarded.stop()
    assert TOKEN not in guarded.log and "wrong-guess" not in guarded.log


@pytest.mark.parametrize("revision", [LEGACY, MODERN])
def test_mcp_works_with_the_token(guarded: Program, docker: Docker, revision: str) -> None:
    name = docker.name(f"guarded-{revision}")
    docker.run(name)
    guarded.rest().until(name, state="running")
    reader = Reader("bearer", Target.http(guarded.url, TOKEN), revision)
    try:
        until_running(reader, name)
        wait_until(lambda: health(reader)["connected"], "it hears the engine")
    finally:
        reader.close()


@pytest.mark.parametrize("revision", [LEGACY, MODERN])
def test_on_stdio_mcp_needs_no_token(place: Workshop, docker: Docker, revision: str) -> None:
    settings = {
        "MAINTENANT_DB": str(place.database),
        "DOCKER_HOST": docker.host,
        "MAINTENANT_ADDR": "127.0.0.1:0",
        "MAINTENANT_API_TOKEN": TOKEN,
    }
    reader = Reader("tokenless", Target.stdio("maintenant", settings), revision)
    try:
        wait_until(lambda: health(reader)["connected"], "it hears the engine")
    finally:
        reader.close()


def test_without_the_switch_there_is_no_mcp(place: Workshop, docker: Docker) -> None:
    program = place.start("maintenant", MAINTENANT_DB=str(place.database), DOCKER_HOST=docker.host)
    rest = program.rest()
    assert rest.get("/health")["status"] == "ok"
    answer = rest.http.post(f"{program.url}/mcp", json={})
    assert answer.status_code == 404


def test_the_socket_beside_the_database_is_served_and_private(
    place: Workshop, docker: Docker
) -> None:
    program = place.start("maintenant", MAINTENANT_DB=str(place.database), DOCKER_HOST=docker.host)
    assert program.address
    path = Path(f"{place.database}.sock")
    wait_until(path.exists, "the socket is there")
    assert path.stat().st_mode & 0o777 == 0o600
    assert Rest(f"unix:{path}").get("/health")["status"] == "ok"
    program.stop()
    assert not path.exists()


Open = Callable[[str, str], tuple[Reader, int]]


@pytest.fixture
def open_editor(place: Workshop, docker: Docker) -> Iterator[Open]:
    """Starts `maintenant --mcp-stdio` as an editor does; yields its reader and its process id."""
    opened: list[Reader] = []

    def start(name: str, revision: str) -> tuple[Reader, int]:
        pid_file = place.folder / f"{name}.pid"
        settings = {
            "MAINTENANT_DB": str(place.database),
            "DOCKER_HOST": docker.host,
            "MAINTENANT_ADDR": "127.0.0.1:0",
        }
        target = Target.stdio("maintenant", settings)
        reader = Reader(name, target, revision, pid_file=pid_file)
        opened.append(reader)
        wait_until(pid_file.exists, f"{name} has started")
        return reader, wait_until(lambda: int(pid_file.read_text() or 0), "its id is written")

    yield start
    for reader in opened:
        reader.close()


def holds(place: Workshop, pid: int) -> bool:
    """Whether this process says to hold the database. Its number may be part of another number."""
    return f"process {pid} " in Path(f"{place.database}.lock").read_text()


@pytest.mark.parametrize("revision", [LEGACY, MODERN])
def test_two_editors_on_one_database_share_one_collector(
    place: Workshop, docker: Docker, open_editor: Open, revision: str
) -> None:
    one, one_pid = open_editor("one", revision)
    wait_until(lambda: health(one)["connected"], "the first editor hears the engine")
    two, two_pid = open_editor("two", revision)
    name = docker.name(f"shared-{revision}")
    docker.run(name)
    first = wait_until(lambda: _find(one, name), "the first editor lists it")
    second = wait_until(lambda: _find(two, name), "the second editor lists it")
    assert first["id"] == second["id"]
    assert one_pid != two_pid
    assert holds(place, one_pid) and not holds(place, two_pid)


@pytest.mark.parametrize("revision", [LEGACY, MODERN])
def test_when_the_owner_is_killed_the_other_takes_over(
    place: Workshop, docker: Docker, open_editor: Open, revision: str
) -> None:
    one, one_pid = open_editor("owner", revision)
    before = docker.name(f"before-{revision}")
    docker.run(before)
    row = wait_until(lambda: _find(one, before), "the owner lists it")["id"]
    two, two_pid = open_editor("heir", revision)
    assert _find(two, before)

    os.kill(one_pid, signal.SIGKILL)
    wait_until(lambda: holds(place, two_pid), "the other holds the database")
    after = docker.name(f"after-{revision}")
    docker.run(after)
    assert wait_until(lambda: _find(two, after), "the heir sees new containers")
    assert listed(two, before)["id"] == row


def test_a_server_owns_it_and_an_editor_attaches(
    place: Workshop, docker: Docker, open_editor: Open
) -> None:
    program = place.start("maintenant", MAINTENANT_DB=str(place.database), DOCKER_HOST=docker.host)
    assert program.address
    reader, _ = open_editor("editor", MODERN)
    name = docker.name("attached")
    docker.run(name)
    found = wait_until(lambda: _find(reader, name), "the editor lists it")
    assert found["id"] == str(program.rest().expect(name)["id"])
    assert holds(place, program.process.pid)


def test_an_editor_whose_port_is_taken_works_and_ends_promptly(
    place: Workshop, docker: Docker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The client sends SIGTERM after two seconds; here after the longest that the program would wait
    # for others at its end.
    patience = 10
    monkeypatch.setattr("mcp.client.stdio.PROCESS_TERMINATION_TIMEOUT", patience)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = {
            "MAINTENANT_DB": str(place.database),
            "DOCKER_HOST": docker.host,
            "MAINTENANT_ADDR": f"127.0.0.1:{taken.getsockname()[1]}",
        }
        reader = Reader("portless", Target.stdio("maintenant", settings), MODERN)
        try:
            wait_until(lambda: health(reader)["connected"], "it hears the engine")
        finally:
            begin = time.monotonic()
            reader.close()
        assert time.monotonic() - begin < patience, "it did not end when its input ended"


def _find(reader: Reader, name: str) -> dict | None:
    """The container, when the list is there and has it."""
    answer = reader.ask("list_containers")
    if answer.is_error:
        return None
    return next((c for c in listing(reader) if c["name"] == name), None)
