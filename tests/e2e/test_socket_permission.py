"""A collector that may not open Docker's socket says which group it lacks, wherever one looks."""

import os
import stat
from pathlib import Path

from support.docker import Docker
from support.mcp_clients import MODERN, Reader, Target
from support.programs import Workshop, run_to_end
from support.wait import wait_until

NOBODY = 65534


def without(*groups: int) -> tuple[str, ...]:
    """A command that goes on as a user who is in these groups alone."""
    chosen = f"--groups={','.join(map(str, groups))}" if groups else "--clear-groups"
    return ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", chosen)


def test_the_group_of_the_socket_is_named_at_the_start_in_the_status_get_health_and_check(
    place: Workshop, docker: Docker
) -> None:
    socket = Path(docker.socket)
    group = socket.stat().st_gid
    assert stat.S_IMODE(socket.stat().st_mode) == 0o660, "the engine's socket has another mode"
    os.chown(place.folder, NOBODY, NOBODY)
    collector = place.collector(docker.host, before=without())
    rest = collector.rest()
    group_add = f'group_add: ["{group}"]'

    def refused() -> str:
        status = rest.get("/runtime/status")
        assert status["connected"] is False, status
        return str(status.get("error") or "")

    said = wait_until(refused, "the socket refuses")
    assert f"refuses user {NOBODY}; add the collector to group {group}" in said, said
    assert group_add in said and "usermod -aG" in said, said

    def warned() -> bool:
        failed = [line for line in collector.log_lines if line.get("level") == "WARN"]
        return any(said in str(line["message"]) for line in failed)

    wait_until(warned, "the collector tells it", context=lambda: collector.last_words)

    gateway = place.gateway(collector.url)
    reader = Reader("get_health", Target.http(gateway.url), MODERN)
    try:
        health = reader.call("get_health")
        assert group_add in health["error"] and group_add in health["sources"][0]["error"], health
    finally:
        reader.close()

    def told() -> bool:
        lines = [str(line.get("message")) for line in gateway.log_lines]
        return any(group_add in line and "not connected to docker" in line for line in lines)

    wait_until(told, "the gateway tells it at its start", context=lambda: gateway.last_words)
    ended = run_to_end(
        "maintenant-gateway", "check", cwd=place.folder, MAINTENANT_URL=collector.url
    )
    assert ended.code == 1 and group_add in ended.stdout, ended


def test_in_that_group_it_watches(place: Workshop, docker: Docker) -> None:
    group = Path(docker.socket).stat().st_gid
    os.chown(place.folder, NOBODY, NOBODY)
    collector = place.collector(docker.host, before=without(group))
    rest = collector.rest()
    wait_until(lambda: rest.get("/runtime/status")["connected"], "Docker is watched")


def test_a_folder_that_cannot_be_entered_is_not_a_missing_socket(
    place: Workshop, docker: Docker
) -> None:
    closed = place.folder / "closed"
    closed.mkdir(mode=0o700)
    (closed / "docker.sock").symlink_to(docker.socket)
    os.chown(place.folder, NOBODY, NOBODY)
    collector = place.collector(f"unix://{closed}/docker.sock", before=without())
    rest = collector.rest()
    said = wait_until(lambda: rest.get("/runtime/status").get("error"), "the socket refuses")
    assert "may not even enter its folder" in said, said
