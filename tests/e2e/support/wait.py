"""Waiting for a condition, with a bound. The tests never sleep and hope."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(
    condition: Callable[[], T | None],
    what: str,
    *,
    within: float = 20,
    every: float = 0.1,
    context: Callable[[], object] | None = None,
) -> T:
    """The first truthy value of `condition`.

    An `AssertionError` inside the condition counts as "not yet"; the last one is told when time
    runs out, together with what `context` returns.
    """
    deadline = time.monotonic() + within
    while True:
        last: object = None
        try:
            value = condition()
            if value:
                return value
            last = value
        except AssertionError as error:
            last = f"AssertionError: {error}"
        if time.monotonic() > deadline:
            told = f"; {context()}" if context else ""
            raise AssertionError(f"not within {within:g} s: {what}; last seen: {last!r}{told}")
        time.sleep(every)
