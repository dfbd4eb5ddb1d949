"""Podman's Docker-compatible socket is watched as Docker's is.

Its events differ (no `stop`, an `init` and a `cleanup` more) and its answers lack fields.
"""

from collections.abc import Iterator

import pytest
from conftest import READERS, System
from support.docker import Docker
from support.podman import Podman
from support.programs import workshop
from support.tools import described, health, listed, log_lines
from support.wait import wait_until


@pytest.fixture(scope="module")
def podman() -> Iterator[Docker]:
    engine = Podman()
    try:
        docker = engine.start()
        try:
            yield docker
        finally:
            docker.clean_up()
            docker.close()
    finally:
        engine.close()


@pytest.fixture(scope="module")
def watched(podman: Docker) -> Iterator[System]:
    with workshop() as place:
        system = System(place, podman.host)
        try:
            yield system
        finally:
            system.close()


@pytest.fixture(scope="module")
def names(podman: Docker, watched: System) -> dict[str, str]:
    """One that runs, one that crashed, one that was stopped, one that is gone."""
    names = {word: podman.name(word) for word in ("running", "crashed", "stopped", "removed")}
    podman.shell(names["running"], "echo hello; echo oops >&2; sleep 86400")
    # It crashes when told to, so that on a slow machine too it is seen running before.
    told = "trap 'exit 3' WINCH; echo ready; while true; do sleep 0.1; done"
    crashed = podman.shell(names["crashed"], told)
    stopped = podman.run(names["stopped"])
    removed = podman.run(names["removed"])
    rest = watched.rest
    rows = {word: rest.until(names[word], state="running")["id"] for word in names}

    def logged(word: str, *lines: str) -> None:
        wait_until(lambda: sorted(rest.logs(rows[word])) == list(lines), f"{word} has logged")

    logged("running", "hello", "oops")
    logged("crashed", "ready")  # the signal is waited for
    podman.kill(crashed, "WINCH")
    rest.until(names["crashed"], state="exited")
    # Not before: a removal makes the collector compare, and it might find what it is to hear.
    podman.stop(stopped, grace=0)
    podman.remove(removed)
    rest.until(names["stopped"], state="exited")
    rest.until_gone(names["removed"])
    return names


@pytest.mark.parametrize("kind", READERS)
def test_states_exit_codes_and_logs_are_right(
    watched: System, names: dict[str, str], kind: tuple[str, str]
) -> None:
    reader = watched.reader(*kind)
    assert health(reader)["connected"] is True
    assert listed(reader, names["running"])["state"] == "running"
    crashed = described(reader, names["crashed"])
    assert (crashed["exit_code"], crashed["exit_reason"]) == (3, "error")
    assert listed(reader, names["stopped"])["state"] == "exited"
    assert sorted(log_lines(reader, names["running"])) == ["hello", "oops"]


def test_changes_were_heard_not_found_by_comparing(watched: System, names: dict[str, str]) -> None:
    row = watched.rest.expect(names["crashed"])["id"]
    died = next(t for t in watched.rest.transitions(row) if t.get("exit_code") == 3)
    assert died["observed_by"] == "event"
