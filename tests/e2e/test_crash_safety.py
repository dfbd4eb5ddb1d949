"""One writer per database, and a database that survives its writer."""

import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from support.docker import Docker
from support.places import binary
from support.programs import Workshop, clean_environment, run_to_end
from support.wait import wait_until


def integrity(database: Path) -> str:
    """SQLite's verdict on a database file."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return connection.execute("PRAGMA integrity_check").fetchone()[0]


def names_in(database: Path) -> set[str]:
    """Names of all containers in a database file."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return {row[0] for row in connection.execute("SELECT name FROM containers")}


def test_killed_amid_a_burst_it_restarts_on_the_same_database(
    place: Workshop, docker: Docker
) -> None:
    collector = place.collector(docker.host)
    rest = collector.rest()
    first = docker.name("burst-0")
    docker.run(first)
    rest.until(first)
    row = rest.expect(first)["id"]

    for number in range(1, 20):
        docker.run(docker.name(f"burst-{number}"))
        if number == 10:
            collector.kill()
    docker.remove(docker.name("burst-3"))
    docker.stop(docker.name("burst-4"), grace=0)

    assert integrity(place.database) == "ok"
    collector = place.collector(docker.host)
    rest = collector.rest()

    def all_right() -> bool:
        states = {c["name"]: c["state"] for c in rest.containers()}
        for number in range(20):
            name = docker.name(f"burst-{number}")
            expected = {3: None, 4: "exited"}.get(number, "running")
            assert states.get(name) == expected, f"{name} is {states.get(name)}, not {expected}"
        return True

    wait_until(all_right, "all states are right after the restart")
    assert rest.expect(first)["id"] == row, "the container got another id by the restart"
    collector.stop()
    assert integrity(place.database) == "ok"


def test_a_second_collector_on_one_database_is_refused_and_names_the_holder(
    place: Workshop, docker: Docker
) -> None:
    collector = place.collector(docker.host)
    assert collector.address
    second = place.collector(docker.host)
    code = second.wait(within=10)
    assert code not in (0, 64), f"{code}: {second.log}"
    assert str(place.database) in second.log
    assert str(collector.process.pid) in second.log, second.log
    assert collector.rest().get("/health")["status"] == "ok"


def test_a_backup_of_a_running_collector_is_a_whole_database(
    place: Workshop, docker: Docker
) -> None:
    collector = place.collector(docker.host)
    rest = collector.rest()
    kept = docker.name("kept")
    docker.run(kept)
    rest.until(kept)

    copy = place.folder / "copy.db"
    done = subprocess.run(
        [binary("maintenant-collector"), "backup", str(copy)],
        env=clean_environment(MAINTENANT_DB=str(place.database)),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert integrity(copy) == "ok"
    assert kept in names_in(copy)
    assert rest.get("/health")["status"] == "ok"


def test_a_backup_does_not_overwrite_the_database_itself(place: Workshop) -> None:
    collector = place.collector("", MAINTENANT_RUNTIME="none")
    assert collector.address
    database = str(place.database)
    ended = run_to_end(
        "maintenant-collector", "backup", database, cwd=place.folder, MAINTENANT_DB=database
    )
    assert ended.code != 0, ended
    assert integrity(place.database) == "ok"


def test_the_database_is_readable_by_its_owner_alone(place: Workshop) -> None:
    collector = place.collector("", MAINTENANT_RUNTIME="none")
    assert collector.address
    assert place.database.stat().st_mode & 0o077 == 0
