"""Rounds at absolute deadlines, carried out by one Lambda at a time, without a gap between two of them.

EventBridge starts a Lambda each minute, somewhere within the minute. That Lambda works in rounds until the next one
asks for its lease, wherever in the next minute that is. So the offset does not matter, nor that it changes. One that
nobody follows goes on for some minutes, so that missed triggers do not matter either. The lease lies in the local
store. Its version is the fencing token of each round. So a Lambda that froze in mid-round and wakes after its lease can
do no harm.

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
# Two triggers in a row may be missed: from one at :00 to the third after it at :59, 30 s late, there are 269 s.
LONGEST_SECONDS = 275.0
# The longest that a round may take after its last deadline (s), before Lambda ends it.
LAST_ROUND_SECONDS = 45
# No round begins on a lease that ends sooner than the round should, and a second more.
_MARGIN_SECONDS = 1.0
# How often the lease is looked at while another one still has it (s).
_WAIT_SECONDS = 0.5
_FAILURES_IN_A_ROW = 3

# `run(at, token)`: one round, planned for `at` (epoch seconds), fenced by `token`.
Round = Callable[[float, int], None]


class IntervalResult(msgspec.Struct, frozen=True):
    """The result of a Lambda's rounds.

    `done` means that a later one follows, or that the time is over. `because` says which. `lost` means that another one
    has the lease, and `because` names it. Nothing ran after that. `failed` means three failed rounds in a row.
    `skipped` rounds were not begun since an earlier one took their time. `token` is the last one.
    """

    status: Literal["done", "lost", "failed"]
    rounds: int = 0
    failed: int = 0
    skipped: int = 0
    token: int = 0
    because: str = ""


def run_rounds(
    store: Store, key: Key, run: Round, *, capability: str, clock: Callable[[], float],
    wait: Callable[[float], None], holder: str, every_seconds: float = 2.0, longest_seconds: float = LONGEST_SECONDS,
    lease_seconds: float = LEASE_SECONDS,
) -> IntervalResult:
    """Rounds at each multiple of `every_seconds` since the epoch, until a later Lambda wants the lease.

    `holder` is a random mark of this very call, because a request's id comes again when Lambda tries again. `clock`
    gives epoch seconds. `wait` sleeps so many. A round that raises is logged and counted, and the next one is carried
    out. The third in a row ends all. A slow round costs the rounds whose time it took. None runs late, and no two at
    once.
    """
    lease = LeaseHolder(store, key, holder, seconds=lease_seconds, least_seconds=every_seconds + _MARGIN_SECONDS,
                        clock=clock)
    tally = _Tally(capability, lease)
    end = clock() + longest_seconds

    def deadline(after: float) -> float:
        return math.ceil(after / every_seconds) * every_seconds

    at, waited = deadline(clock()), False
    while at + every_seconds <= end:
        wait(max(0.0, at - clock()))
        standing = lease.hold()
        if standing == "lost":
            return tally.ended("lost", lease.why)
        if standing == "waiting":
            at, waited = clock() + _WAIT_SECONDS, True
            continue
        if waited:
            at, waited = deadline(clock()), False
            continue
        tally.round(run, at, standing)
        if tally.failed_in_a_row == _FAILURES_IN_A_ROW:
            lease.release()
            return tally.ended("failed", f"{_FAILURES_IN_A_ROW} rounds in a row failed, see the log")
        if lease.successor:
            lease.release()
            return tally.ended("done", f"{lease.successor} follows")
        following = max(at + every_seconds, deadline(clock()))
        tally.skip(round((following - at) / every_seconds) - 1, every_seconds)
        at = following
    if lease.held is None:
        return tally.ended("lost", lease.why)
    lease.release()
    return tally.ended("done", f"nobody follows after {longest_seconds:.0f} s: look at its rule")


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
        log(f"the rounds are {status}", capability=self.capability, because=because, rounds=self.rounds,
            token=self.lease.token)
        if status == "lost":
            count("LeaseLost", capability=self.capability)
        return IntervalResult(status, self.rounds, self.failed, self.skipped, self.lease.token, because)
