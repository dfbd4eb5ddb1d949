"""A clock that a test can move, for one program: Debian's libfaketime."""

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from .places import SCRATCH
from .wait import wait_until

T = TypeVar("T")


def library() -> Path:
    """The library; `tests/run` unpacks it."""
    found = sorted((SCRATCH / "faketime").glob("usr/lib/*/faketime/libfaketimeMT.so.1"))
    assert found, f"there is no libfaketime in {SCRATCH}; `tests/run e2e` fetches it"
    return found[0]


def moment(text: str) -> datetime:
    """An instant as REST writes it."""
    return datetime.fromisoformat(text)


class Clock:
    """The wall clock of the programs that are started with its settings."""

    def __init__(self, folder: Path, start: str | None = None) -> None:
        """Without a start it is right: an engine dates its events by the real one."""
        self._file = folder / "clock"
        if start is None:
            self._move(0)
        else:
            self.set(start)

    @property
    def settings(self) -> dict[str, str]:
        """What a program's environment needs to go by this clock. Its timers stay real."""
        return {
            "LD_PRELOAD": str(library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DISABLE_SHM": "1",
            "NO_FAKE_STAT": "1",
        }

    @property
    def now(self) -> datetime:
        return datetime.fromtimestamp(time.time() + self._offset, UTC)

    def set(self, to: str) -> None:
        """Moves it to that instant, forward or back."""
        self._move(moment(to).timestamp() - time.time())

    def advance(self, **span: float) -> None:
        """Moves it by so many `hours`, `minutes` or `seconds`."""
        self._move(self._offset + timedelta(**span).total_seconds())

    def run_until(self, condition: Callable[[], T | None], what: str) -> T:
        """Lets it run ten times as fast until something is so.

        A jump looks like a machine that slept, and what was missed meanwhile is judged after a
        pause; time that merely runs fast does not.
        """

        def step() -> T | None:
            value = condition()
            if not value:
                self.advance(seconds=5)
            return value

        return wait_until(step, what, every=0.5)

    def _move(self, offset: float) -> None:
        self._offset = offset
        draft = self._file.with_suffix(".draft")
        draft.write_text(f"{offset:+.3f}\n")
        os.replace(draft, self._file)
