"""The limit on calls of Route 53, a bucket of tokens.

The default is the older and stricter limit, five requests a second per account. The guide's page "Throttling for Amazon
Route 53 API requests" now gives 10 a second with bursts of 50, which is `PUBLISHED`.
"""

from collections.abc import Callable

import msgspec

from sandbox.route53.errors import Refusal


class Rate(msgspec.Struct, frozen=True):
    """`burst` calls at once, and `rate` more for every second."""

    rate: float = 5.0
    burst: float = 5.0


PUBLISHED = Rate(10.0, 50.0)


class Bucket:
    """Takes a token per call, or refuses with Throttling."""

    def __init__(self, rate: Rate, clock: Callable[[], float]) -> None:
        self._rate, self._clock = rate, clock
        self._tokens, self._then = rate.burst, clock()

    def take(self) -> None:
        """One call. `Refusal` if there were too many."""
        now = self._clock()
        self._tokens = min(self._rate.burst, self._tokens + (now - self._then) * self._rate.rate)
        self._then = now
        if self._tokens < 1:
            raise Refusal("Throttling", "Rate exceeded")
        self._tokens -= 1
