"""The engine is killed, the readers ask; it comes back, the readers ask again.

The tests of this file run in their order.
"""

from collections.abc import Iterator

import pytest
from conftest import READERS, System
from support.database import SLACK, Gap, now, spans, until_old
from support.docker import Docker
from support.engine import Engine
from support.tools import described, health, listed
from support.wait import wait_until


@pytest.fixture(scope="module")
def names(second: Docker, watched: System) -> tuple[str, str]:
    """One container that Docker starts again by itself, and one that it does not."""
    returning, ending = second.name("returning"), second.name("ending")
    second.run(returning, restart="always", stop_signal="SIGKILL")
    second.run(ending, stop_signal="SIGKILL")
    for name in (returning, ending):
        watched.rest.until(name, state="running")
    return returning, ending


@pytest.fixture(scope="module")
def killed(engine: Engine, watched: System, names: tuple[str, str]) -> Iterator[int]:
    """The moment since when the engine is dead."""
    engine.kill()
    moment = now()
    watched.rest.until_connected(False)
    yield moment
    if not engine.is_started:
        engine.start()


@pytest.fixture(scope="module")
def back(engine: Engine, watched: System, killed: int, names: tuple[str, str]) -> Gap:
    """After the daemon's return, once the collector has compared everything."""
    until_old(killed, 3_000)
    outage = Gap(killed, now())
    engine.start()
    returning, ending = names

    def settled() -> bool:
        assert watched.rest.runtime()["connected"]
        assert watched.rest.expect(returning)["state"] == "running"
        assert watched.rest.expect(ending)["state"] == "exited"
        return True

    wait_until(settled, "states are right after the engine's return")
    return outage


def test_status_says_why_and_since_when(watched: System, killed: int) -> None:
    runtime = watched.rest.runtime()
    assert runtime["connected"] is False
    assert runtime["error"] and runtime["since"]


@pytest.mark.parametrize("kind", READERS)
def test_states_are_unknown_and_the_last_known_is_told(
    watched: System, killed: int, names: tuple[str, str], kind: tuple[str, str]
) -> None:
    reader = watched.reader(*kind)
    assert listed(reader, names[0])["state"] == "unknown"
    detail = described(reader, names[0])
    assert (detail["state"], detail["last_known_state"]) == ("unknown", "running")


@pytest.mark.parametrize("kind", READERS)
def test_get_health_says_that_the_engine_is_out_of_reach(
    watched: System, killed: int, kind: tuple[str, str]
) -> None:
    assert health(watched.reader(*kind))["connected"] is False


def test_the_process_itself_is_well(watched: System, killed: int) -> None:
    assert watched.rest.get("/health")["status"] == "ok"


@pytest.mark.parametrize("kind", READERS)
def test_after_its_return_states_are_right_again(
    watched: System, back: Gap, names: tuple[str, str], kind: tuple[str, str]
) -> None:
    reader = watched.reader(*kind)
    returning, ending = listed(reader, names[0]), listed(reader, names[1])
    assert returning["state"] == "running"
    assert (ending["state"], ending["exit_code"]) == ("exited", 137)
    assert health(reader)["connected"] is True


def test_the_gap_is_not_counted_as_known_time(
    watched: System, back: Gap, names: tuple[str, str]
) -> None:
    """The percentages of clients are too coarse for an outage this short; the database is not."""
    known = spans(watched.place, watched.rest.expect(names[0])["id"])
    counted = sum(span.within(back) for span in known)
    assert counted <= SLACK, f"{counted} ms of {back} are counted as known: {known}"
    assert known[0].is_up and known[0].begin < back.begin, known
    assert known[-1].is_up and known[-1].end is None, known


def test_it_kept_its_id(watched: System, back: Gap, names: tuple[str, str]) -> None:
    found = [c for c in watched.rest.containers(archived="true") if c["name"] == names[0]]
    assert len(found) == 1
