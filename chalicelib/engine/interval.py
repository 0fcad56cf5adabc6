"""Rounds at absolute deadlines within one Lambda's life, and one Lambda at a time.

EventBridge starts a Lambda each minute. It works in rounds until second 56, so that the next one finds the place free.
That is a habit, not a guarantee. A round may take long, a trigger may come twice or late, and Lambda may try a function
again. The guarantee is a lease in the local store. Its version is the fencing token of each round. So a Lambda that
froze in mid-round and wakes after its lease can do no harm.

    ended = interval.run_rounds(context.local_store, ("tunnels", "lease"), run, capability="tunnels",
                                clock=context.clock, wait=time.sleep, holder=uuid4().hex, every_seconds=2)
"""

import math
from collections.abc import Callable
from typing import Literal

import msgspec

from chalicelib.aws.client import Unavailable
from chalicelib.aws.store import Store
from chalicelib.engine.lease import LeaseHolder, Standing
from chalicelib.engine.metrics import count, logger
from chalicelib.engine.state import Key

# How long a lease lasts that is not renewed (s): long enough for a slow round, short enough for a crash.
LEASE_SECONDS = 15.0
# No round begins on a lease that ends sooner than the round should, and a second more: clocks of two Lambdas differ.
_SKEW_SECONDS = 1.0
_FAILURES_IN_A_ROW = 3

# `run(at, token)`: one round, planned for `at` (epoch seconds), fenced by `token`.
Round = Callable[[float, int], None]


class IntervalResult(msgspec.Struct, frozen=True):
    """The result of a minute.

    `done` means all rounds that there was time for. `lost` means that another one has the lease, and `because` names
    it. Nothing ran after that. `failed` means three failed rounds in a row. `skipped` rounds were not begun since an
    earlier one took their time. `token` is the last one.
    """

    status: Literal["done", "lost", "failed"]
    rounds: int = 0
    failed: int = 0
    skipped: int = 0
    token: int = 0
    because: str = ""


def run_rounds(
    store: Store, key: Key, run: Round, *, capability: str, clock: Callable[[], float],
    wait: Callable[[float], None], holder: str, every_seconds: float = 2.0, until_second: float = 56.0,
    lease_seconds: float = LEASE_SECONDS,
) -> IntervalResult:
    """Rounds at each multiple of `every_seconds` of the current minute that leaves time for one before `until_second`.

    `holder` is a random mark of this very call, because a request's id comes again when Lambda tries again. `clock`
    gives epoch seconds. `wait` sleeps so many. A round that raises is logged and counted, and the next one is carried
    out. The third in a row ends the minute. A slow round costs the rounds whose time it took. None runs late, and no
    two at once.
    """
    begin = math.floor(clock() / 60) * 60
    lease = LeaseHolder(store, key, holder, begin, seconds=lease_seconds, least_seconds=every_seconds + _SKEW_SECONDS,
                        clock=clock)
    tally = _Tally(capability, lease)

    def next_number(least: int) -> int:
        return max(least, math.ceil((clock() - begin) / every_seconds))

    number = next_number(0)
    while (number + 1) * every_seconds <= until_second:
        at = begin + number * every_seconds
        wait(max(0.0, at - clock()))
        standing = lease.hold()
        if standing == "lost":
            return tally.ended("lost", lease.why)
        if standing != "taken":
            tally.round(run, at, standing)
        if tally.failed_in_a_row == _FAILURES_IN_A_ROW:
            lease.release()
            return tally.ended("failed", f"{_FAILURES_IN_A_ROW} rounds in a row failed, see the log")
        after = next_number(number + 1)
        tally.skip(after - number - 1, every_seconds)
        number = after
    if lease.held is None:
        return tally.ended("lost", lease.why or "too late in the minute for a round")
    lease.release()
    return tally.ended("done", "")


class _Tally:
    """The results of the rounds so far, in numbers, log lines and metrics."""

    def __init__(self, capability: str, lease: LeaseHolder) -> None:
        self.capability, self.lease = capability, lease
        self.rounds = self.failed = self.skipped = self.failed_in_a_row = 0

    def round(self, run: Round, at: float, standing: Standing) -> None:
        try:
            if standing == "unknown":
                raise Unavailable(self.lease.why)
            run(at, self.lease.token)
        except Exception:
            self.failed, self.failed_in_a_row = self.failed + 1, self.failed_in_a_row + 1
            logger.exception("a round failed", capability=self.capability, at=at, in_a_row=self.failed_in_a_row)
            count("RoundFailed", capability=self.capability)
        else:
            self.rounds, self.failed_in_a_row = self.rounds + 1, 0

    def skip(self, rounds: int, every_seconds: float) -> None:
        if rounds:
            self.skipped += rounds
            logger.warning("a round took the time of others", capability=self.capability, skipped=rounds,
                           every_seconds=every_seconds)
            count("RoundSkipped", capability=self.capability)

    def ended(self, status: Literal["done", "lost", "failed"], because: str) -> IntervalResult:
        log = logger.info if status == "done" else logger.warning
        log(f"the minute of rounds is {status}", capability=self.capability, because=because, rounds=self.rounds,
            token=self.lease.token)
        if status == "lost":
            count("LeaseLost", capability=self.capability)
        return IntervalResult(status, self.rounds, self.failed, self.skipped, self.lease.token, because)
