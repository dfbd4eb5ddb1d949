"""Behind a socket proxy that lets through only the documented calls, everything works."""

from collections.abc import Iterator

import pytest
from conftest import System
from support.docker import Docker
from support.mcp_clients import LEGACY, MODERN
from support.programs import Workshop, workshop
from support.proxy import DOCUMENTED, SocketProxy
from support.tools import described, health, log_lines, until_running
from support.wait import wait_until

LOGS = "/containers/{id}/logs"


def proxied(place: Workshop, docker: Docker, refused: set[str]) -> tuple[SocketProxy, System]:
    """A system whose only way to the engine is a proxy."""
    proxy = SocketProxy(place.folder / "proxy.sock", docker.socket)
    proxy.refused = refused
    return proxy, System(place, proxy.host)


@pytest.fixture(scope="module")
def open_proxy(docker: Docker) -> Iterator[tuple[SocketProxy, System]]:
    with workshop() as place:
        proxy, system = proxied(place, docker, refused=set())
        yield proxy, system
        system.close()
        proxy.close()


@pytest.mark.parametrize("transport, revision", [("stdio", MODERN), ("http", LEGACY)])
def test_the_documented_calls_are_enough(
    open_proxy: tuple[SocketProxy, System], docker: Docker, transport: str, revision: str
) -> None:
    _, system = open_proxy
    reader = system.reader(transport, revision)
    name = docker.name(f"proxied-{transport}")
    check = ["sh", "-c", "test ! -e /tmp/sick"]
    container = docker.shell(name, "echo hello; sleep 86400", healthcheck=check)
    system.rest.until(name, health_status="healthy")
    until_running(reader, name)
    wait_until(lambda: log_lines(reader, name) == ["hello"], "its line is written")

    docker.stop(container, grace=0)
    system.rest.until(name, state="exited")
    system.rest.until_last_words(name)
    detail = described(reader, name)
    assert detail["exit_reason"] == "requested"
    assert detail["transitions"][0]["last_log_lines"] == ["hello"]
    with system.rest.stream(f"/containers/{detail['id']}/logs/stream") as stream:
        stream.expect("container.log_line", line="hello")

    docker.remove(container)
    system.rest.until_gone(name)
    wait_until(lambda: health(reader)["connected"], "the engine is heard")


def test_nothing_else_is_ever_asked(open_proxy: tuple[SocketProxy, System]) -> None:
    """Runs after the test above, on its calls."""
    proxy, system = open_proxy
    system.rest.until_connected(True)
    assert proxy.calls, "the proxy was not used"
    assert {call for call in proxy.calls if not call.allowed} == set()
    assert {call.route for call in proxy.calls} <= set(DOCUMENTED)
    assert "degraded" not in system.rest.runtime()


def test_with_logs_refused_the_rest_works_and_the_loss_is_named(
    place: Workshop, docker: Docker
) -> None:
    proxy, system = proxied(place, docker, refused={LOGS})
    try:
        # Of what had ended before it looked there are no transitions.
        system.rest.until_connected(True)
        name = docker.name("speechless")
        docker.shell(name, "echo unheard; sleep 0.5; exit 5")
        system.rest.until(name, state="exited")
        reader = system.reader("http", MODERN)
        detail = described(reader, name)
        assert (detail["exit_code"], detail["exit_reason"]) == (5, "error")
        assert "last_log_lines" not in detail["transitions"][0]

        text = reader.refusal("get_container_logs", container_id=name)
        assert "403" in text or "forbidden" in text or "refused" in text, text

        def named() -> bool:
            degraded = system.rest.runtime()["degraded"]
            assert [entry["call"] for entry in degraded] == [f"GET {LOGS}"], degraded
            return True

        wait_until(named, "runtime/status names the refused call")
        system.rest.until_connected(True)
    finally:
        system.close()
        proxy.close()
