"""Waiting for what happens elsewhere, with a limit."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
# A limit for what will never happen, not for how fast it is to be: a machine under load is slow, not wrong.
SECONDS = 180.0


def eventually(look: Callable[[], T], seconds: float = SECONDS) -> T:
    """The first truthy answer of `look`. An AssertionError with the last one when there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"still {found!r} after {seconds} s")
        time.sleep(0.05)  # between two looks, not instead of one
