"""Route 53's API at the pace that it allows, for `./lamp routing conformance`."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

# Five requests a second from an account until 2026, ten since; others need some, too.
PAUSE_SECONDS = 0.25


class Pace(NamedTuple):
    """The passage of time, which for a test is none."""

    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.monotonic


class Calls(NamedTuple):
    """A boto3 client of Route 53, and the passage of time. botocore repeats what Route 53 is too busy for."""

    route53: Any
    pace: Pace

    @classmethod
    def slow(cls, route53: Any, pace: Pace) -> "Calls":
        """A client that waits before each request."""
        route53.meta.events.register("before-call", lambda **_: pace.sleep(PAUSE_SECONDS), unique_id="conformance")
        return cls(route53, pace)
