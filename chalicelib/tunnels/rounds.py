"""The controller's minute, with rounds at absolute deadlines, and one controller at a time.

EventBridge starts a controller each minute. It works in rounds until second 56, so that the next one finds the place
free. That is a habit, not a guarantee. A round may take long, a trigger may come twice or late, and Lambda may try a
function again. A lease in the regional table gives the guarantee, taken and renewed by compare-and-set. Its `version`
grows with each of these writes and is the fencing token of each round. Every action writes the token along or checks
it. So a controller that froze in mid-round and wakes after its lease can do no harm.
"""

import math
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from chalicelib.aws.client import Unavailable
from chalicelib.aws.store import Item, Store
from chalicelib.engine.metrics import count, logger

KEY = ("tunnels", "lease")
# How long a lease lasts that is not renewed (s): long enough for a slow round, short enough for a crash.
LEASE = 15.0
# No round begins on a lease that ends sooner than it should, and a second more: the clocks of two Lambdas differ.
_SKEW = 1.0
_FAILURES = 3

# `run(at, token)`: one round, planned for `at` (epoch seconds), fenced by `token`.
Round = Callable[[float, int], None]
_Standing = Literal["held", "taken", "lost", "unknown"]


class IntervalResult(msgspec.Struct, frozen=True):
    """The result of a minute.

    `done` means all rounds that there was time for. `lost` means that another controller has the lease, and `why` names
    it. Nothing ran after that. `failed` means three failed rounds in a row. `skipped` rounds were not begun since an
    earlier one took their time. `token` is the last one.
    """

    status: Literal["done", "lost", "failed"]
    rounds: int = 0
    failed: int = 0
    skipped: int = 0
    token: int = 0
    why: str = ""


def minute(
    table: Store, run: Round, *, clock: Callable[[], float], wait: Callable[[float], None], holder: str,
    every: float = 2.0, until: float = 56.0, lease: float = LEASE,
) -> IntervalResult:
    """Rounds at each multiple of `every` seconds of the current minute that leaves time for one before `until`.

    `table` is the regional one. `holder` is a random mark of this very call, because a request's id comes again when
    Lambda tries again. `clock` gives epoch seconds. `wait` sleeps so many. A round that raises is told, and the next
    one is carried out. The third in a row ends the minute. A round that takes longer than `every` costs the rounds
    whose time it took. None runs late, and no two at once.
    """
    return _Healer(table, run, clock, wait, holder, every, until, lease).work()


class _Healer:
    def __init__(
        self, table: Store, run: Round, clock: Callable[[], float], wait: Callable[[float], None], holder: str,
        every: float, until: float, lease: float,
    ) -> None:
        self.run, self.clock, self.wait, self.every, self.until = run, clock, wait, every, until
        self.begin = math.floor(clock() / 60) * 60
        self.lease = _Lease(table, holder, self.begin, lease, every + _SKEW, clock)
        self.rounds = self.failed = self.skipped = self.in_a_row = 0

    def work(self) -> IntervalResult:
        number = self._next(0)
        while (number + 1) * self.every <= self.until:
            self.wait(max(0.0, self.begin + number * self.every - self.clock()))
            standing = self.lease.hold()
            if standing == "lost":
                return self._ended("lost", self.lease.why)
            if standing != "taken":
                self._round(self.begin + number * self.every, standing)
            if self.in_a_row == _FAILURES:
                self.lease.release()
                return self._ended("failed", f"{_FAILURES} rounds in a row failed, see the log")
            after = self._next(number + 1)
            self._tell_skipped(after - number - 1)
            number = after
        if self.lease.item is None:
            return self._ended("lost", self.lease.why or "too late in the minute for a round")
        self.lease.release()
        return self._ended("done", "")

    def _next(self, least: int) -> int:
        return max(least, math.ceil((self.clock() - self.begin) / self.every))

    def _round(self, at: float, standing: _Standing) -> None:
        try:
            if standing == "unknown":
                raise Unavailable(self.lease.why)
            self.run(at, self.lease.token)
        except Exception:
            self.failed, self.in_a_row = self.failed + 1, self.in_a_row + 1
            logger.exception("a round of the tunnels' healer failed", at=at, in_a_row=self.in_a_row)
            count("RoundFailed", capability="tunnels")
        else:
            self.rounds, self.in_a_row = self.rounds + 1, 0

    def _tell_skipped(self, rounds: int) -> None:
        if rounds:
            self.skipped += rounds
            logger.warning("a round took the time of others", skipped=rounds, every=self.every)
            count("RoundSkipped", capability="tunnels")

    def _ended(self, status: Literal["done", "lost", "failed"], why: str) -> IntervalResult:
        told = logger.info if status == "done" else logger.warning
        told(f"the healer's minute is {status}", why=why, rounds=self.rounds, token=self.lease.token)
        if status == "lost":
            count("LeaseLost", capability="tunnels")
        return IntervalResult(status, self.rounds, self.failed, self.skipped, self.lease.token, why)


class _Lease:
    """The right to act. `item` is what we last knew to be ours. `why` says what stands in the way."""

    def __init__(
        self, table: Store, holder: str, begin: int, seconds: float, least: float, clock: Callable[[], float]
    ) -> None:
        self.table, self.holder, self.begin, self.clock = table, holder, begin, clock
        self.seconds, self.least = seconds, least
        self.item: Item | None = None
        self.doubt = False
        self.why = ""

    @property
    def token(self) -> int:
        return self.item.version if self.item else 0

    def hold(self) -> _Standing:
        """Take it or renew it.

        `taken` means that a controller of an earlier minute has it and is about to end. `unknown` means that the table
        does not answer, or too late for a round on the current lease.
        """
        try:
            standing = self._renew() if self.item and not self.doubt else self._look()
        except Unavailable as error:
            # What we asked for may have been done all the same: look before the next write.
            self.doubt, self.why, standing = True, f"the lease cannot be had: {error}", "held"
        return "unknown" if standing == "held" and not self._good() else standing

    def _good(self) -> bool:
        return self.item is not None and self.clock() + self.least < self.item.body["until"]

    def release(self) -> None:
        """Let the next one begin at once. The item stays, because its `version` must never fall."""
        try:
            if self.item:
                self.table.compare_and_set(self.item, self._body(0.0))
        except Unavailable as error:
            logger.warning("the lease was not given back and will run out", error=str(error))

    def _renew(self) -> _Standing:
        assert self.item  # noqa: S101 - the caller has looked
        item = self.table.compare_and_set(self.item, self._body(self.clock() + self.seconds))
        if item is None:
            return self._lose(self.table.get(*KEY))
        self.item = item
        return "held"

    def _look(self) -> _Standing:
        there, now = self.table.get(*KEY), self.clock()
        ours = there is not None and there.body["holder"] == self.holder
        if there and not ours and (self.item or there.body["until"] > now):
            taken = not self.item and there.body["minute"] < self.begin
            return self._taken(there) if taken else self._lose(there)
        body = self._body(now + self.seconds)
        item = self.table.compare_and_set(there, body) if there else self.table.create(*KEY, body)
        if item is None:
            # Another one was faster.
            return self._lose(self.table.get(*KEY))
        self.item, self.doubt = item, False
        return "held"

    def _taken(self, there: Item) -> _Standing:
        self.why = f"{there.body['holder']} of an earlier minute has not ended"
        return "taken"

    def _lose(self, there: Item | None) -> _Standing:
        self.item = None
        self.why = f"{there.body['holder'] if there else 'another one'} has the lease"
        return "lost"

    def _body(self, until: float) -> dict[str, Any]:
        return {"holder": self.holder, "minute": self.begin, "until": until}
