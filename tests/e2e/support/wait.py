"""Waiting for a condition, with a bound. The tests never sleep and hope."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# Seconds after which it is hopeless, on a busy machine too: no promise of the product.
PATIENCE = 90


def wait_until(
    condition: Callable[[], T | None],
    what: str,
    *,
    within: float = PATIENCE,
    every: float = 0.1,
    context: Callable[[], object] | None = None,
) -> T:
    """The first truthy value of `condition`.

    An `AssertionError` inside the condition counts as "not yet"; the last one is told when time
    runs out, together with what `context` returns. It is looked at once more after that: this
    process may have been held up, too.
    """
    deadline = time.monotonic() + within
    while True:
        is_last = time.monotonic() > deadline
        last: object = None
        try:
            value = condition()
            if value:
                return value
            last = value
        except AssertionError as error:
            last = f"AssertionError: {error}"
        if is_last:
            told = f"; {context()}" if context else ""
            raise AssertionError(f"not within {within:g} s: {what}; last seen: {last!r}{told}")
        time.sleep(every)
