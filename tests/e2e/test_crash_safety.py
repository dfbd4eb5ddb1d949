"""One writer per database, and a database that survives its writer."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from support.database import backup, copied, integrity, select
from support.docker import Docker
from support.programs import Workshop
from support.wait import wait_until


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
    code = second.wait()
    assert code not in (0, 64), f"{code}: {second.log}"
    assert str(place.database) in second.log
    assert str(collector.process.pid) in second.log, second.log
    assert collector.rest().get("/health")["status"] == "ok"


def linked_folder(place: Workshop) -> Path:
    folder = place.folder / "elsewhere"
    folder.symlink_to(place.folder, target_is_directory=True)
    return folder / place.database.name


def linked_file(place: Workshop) -> Path:
    file = place.folder / "alias.db"
    file.symlink_to(place.database)
    return file


@pytest.mark.parametrize("alias", [linked_folder, linked_file])
def test_a_second_collector_by_another_path_is_refused_too(
    place: Workshop, alias: Callable[[Workshop], Path]
) -> None:
    collector = place.collector("", MAINTENANT_RUNTIME="none")
    assert collector.address
    second = place.collector("", MAINTENANT_RUNTIME="none", MAINTENANT_DB=str(alias(place)))
    code = second.wait()
    assert code not in (0, 64), f"{code}: {second.log}"
    assert str(collector.process.pid) in second.log, second.log
    assert collector.rest().get("/health")["status"] == "ok"


def flip_a_table_page(database: Path) -> None:
    """Overwrites the middles of pages until SQLite sees it."""
    size = select(database, "PRAGMA page_size")[0][0]
    content = bytearray(database.read_bytes())
    for page in range(2, len(content) // size):
        begin = page * size + 8
        content[begin : begin + 400] = bytes(byte ^ 0xFF for byte in content[begin : begin + 400])
        database.write_bytes(content)
        if not sound(database):
            return
    raise AssertionError("SQLite does not mind the damage")


def overwrite_the_header(database: Path) -> None:
    content = database.read_bytes()
    database.write_bytes(b"no database at all" + content[18:])


def cut_in_half(database: Path) -> None:
    content = database.read_bytes()
    database.write_bytes(content[: len(content) // 2])


def sound(database: Path) -> bool:
    try:
        return select(database, "PRAGMA quick_check")[0][0] == "ok"
    except sqlite3.DatabaseError:
        return False


@pytest.mark.parametrize("damage", [flip_a_table_page, overwrite_the_header, cut_in_half])
def test_a_damaged_database_is_refused_and_left_as_it_is(
    place: Workshop, docker: Docker, damage: Callable[[Path], None]
) -> None:
    collector = place.collector(docker.host)
    name = docker.name(f"before-{damage.__name__.replace('_', '-')}")
    docker.run(name)
    collector.rest().until(name)
    collector.stop()
    damage(place.database)
    assert not sound(place.database)
    before = place.database.read_bytes()

    again = place.collector(docker.host)
    assert again.wait() == 1, again.log
    assert str(place.database) in again.log and "restore a backup" in again.log, again.log
    assert place.database.read_bytes() == before


def test_a_backup_of_a_running_collector_is_a_whole_database(
    place: Workshop, docker: Docker
) -> None:
    collector = place.collector(docker.host)
    rest = collector.rest()
    kept = docker.name("kept")
    docker.run(kept)
    rest.until(kept)

    copy = copied(place)
    assert integrity(copy) == "ok"
    assert (kept,) in select(copy, "SELECT name FROM containers")
    assert rest.get("/health")["status"] == "ok"


def test_a_backup_does_not_overwrite_the_database_itself(place: Workshop) -> None:
    collector = place.collector("", MAINTENANT_RUNTIME="none")
    assert collector.address
    ended = backup(place, place.database)
    assert ended.code != 0, ended
    assert integrity(place.database) == "ok"


def test_the_database_is_readable_by_its_owner_alone(place: Workshop) -> None:
    collector = place.collector("", MAINTENANT_RUNTIME="none")
    assert collector.address
    assert place.database.stat().st_mode & 0o077 == 0
