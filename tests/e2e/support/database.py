"""The collector's database as a file: read from copies, never from under its writer."""

import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .programs import Ended, Workshop, run_to_end
from .wait import wait_until


def integrity(database: Path) -> str:
    """SQLite's verdict on a database file."""
    return select(database, "PRAGMA integrity_check")[0][0]


def select(database: Path, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    """Rows of a database file that is opened for reading only."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return connection.execute(statement, values).fetchall()


def backup(place: Workshop, copy: Path) -> Ended:
    """`maintenant-collector backup` of the workshop's database."""
    database = str(place.database)
    return run_to_end(
        "maintenant-collector", "backup", str(copy), cwd=place.folder, MAINTENANT_DB=database
    )


def copied(place: Workshop) -> Path:
    """A new copy of the workshop's database, made while its collector runs."""
    copy = place.folder / f"copy-{len(list(place.folder.glob('copy-*.db')))}.db"
    done = backup(place, copy)
    assert done.code == 0, done
    return copy


@dataclass(frozen=True)
class Span:
    """Known time of one availability, in milliseconds since 1970; the open one has no end."""

    begin: int
    end: int | None
    is_up: bool

    def within(self, gap: "Gap") -> int:
        """How many milliseconds of it lie in there."""
        end = gap.end if self.end is None else min(self.end, gap.end)
        return max(0, end - max(self.begin, gap.begin))


@dataclass(frozen=True)
class Gap:
    """A time in which nobody could know anything, in milliseconds since 1970."""

    begin: int
    end: int


# Milliseconds of a gap that may count: between an engine's last answer and the look at the clock.
SLACK = 1_000


def now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def until_old(moment: int, milliseconds: int) -> None:
    """Lets a gap that began at that moment become so long that it would show if it counted."""
    wait_until(lambda: now() - moment >= milliseconds, f"{milliseconds} ms have passed")


def spans(place: Workshop, container_id: int) -> list[Span]:
    """What the database holds as known time of a container, oldest first."""
    statement = (
        "SELECT from_at, to_at, is_up FROM container_availability"
        " WHERE container_id = ? ORDER BY from_at"
    )
    rows = select(copied(place), statement, container_id)
    return [Span(begin, end, bool(is_up)) for begin, end, is_up in rows]
