"""An engine that hangs, comes late, or has much to tell."""

from conftest import KINDS, System
from support.database import SLACK, Gap, now, spans, until_old
from support.docker import Docker
from support.engine import Engine
from support.programs import Workshop
from support.tools import health
from support.wait import wait_until


def test_a_hung_engine_is_noticed_and_its_recovery_too(
    engine: Engine, second: Docker, watched: System
) -> None:
    """SIGSTOP: connections are accepted and nothing is ever said, so no stream breaks."""
    name = second.name("hung")
    second.run(name, stop_signal="SIGKILL")
    watched.rest.until(name, state="running")
    engine.hang()
    hung = now()
    try:
        watched.rest.until_connected(False)
        assert watched.rest.expect(name)["state"] == "unknown"
        assert watched.rest.runtime()["error"]
        until_old(hung, 3_000)
    finally:
        gap = Gap(hung, now())
        engine.resume()
    row = watched.rest.until(name, state="running")["id"]
    watched.rest.until_connected(True)

    # Its container ran on. That nobody knew for a while costs no uptime and counts as none.
    assert watched.rest.detail(row)["uptime"]["24h"] == 100
    known = spans(watched.place, row)
    counted = sum(span.within(gap) for span in known)
    assert counted <= SLACK, f"{counted} ms of {gap} are counted as known: {known}"
    assert known[0].begin < gap.begin and known[-1].begin >= gap.end, known


def test_http_serves_before_there_is_an_engine_and_connects_when_there_is_one(
    place: Workshop, docker: Docker
) -> None:
    socket = place.folder / "late.sock"
    collector = place.collector(f"unix://{socket}")
    rest = collector.rest()
    assert rest.get("/health")["status"] == "ok"
    wait_until(lambda: rest.runtime().get("error"), "the first attempt has failed")
    runtime = rest.runtime()
    assert runtime["connected"] is False and str(socket) in runtime["error"]

    name = docker.name("late")
    docker.run(name)
    socket.symlink_to(docker.socket)
    # It tries again after 30 seconds at the latest.
    rest.until_connected(True)
    rest.until(name, state="running")
    assert "error" not in rest.runtime()


def test_a_burst_of_sixty_short_lives_loses_nothing(
    second: Docker, watched: System, engine: Engine
) -> None:
    before = {c["id"] for c in watched.rest.containers(archived="true")}
    names = [second.name(f"brief-{number}") for number in range(60)]
    for name in names:
        container = second.run(name, ["true"])
        second.wait(container)
        second.remove(container)

    def recorded() -> dict[str, int]:
        found = {
            c["name"]: c["id"]
            for c in watched.rest.containers(archived="true")
            if c["archived"] and c["id"] not in before
        }
        missing = [name for name in names if name not in found]
        assert not missing, f"{len(missing)} of 60 were never recorded: {missing[:5]}"
        return found

    found = wait_until(recorded, "all sixty are recorded, to their removal")
    for name in names:
        ended = [t for t in watched.rest.transitions(found[name]) if t.get("exit_code") == 0]
        assert len(ended) == 1, f"{name}: {watched.rest.transitions(found[name])}"


def test_readers_survive_an_engine_restart(watched: System, second: Docker) -> None:
    """The connections opened before all of the above still work."""
    watched.rest.until_connected(True)
    for kind in KINDS:
        assert health(watched.reader(*kind))["connected"] is True
