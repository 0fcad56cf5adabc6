"""The right to act for a time, taken and renewed by compare-and-set, so that only one has it.

`LeaseHolder` is for one that works for long and renews it (a minute of rounds). `Semaphore` for at most so many at the
same time, none of which renews. A lease that is a part of a capability's own record is a decision of that capability,
carried out by `state.update`. `has_lapsed` tells it when the former holder must be gone.
"""

import uuid
import zlib
from collections.abc import Callable
from typing import Literal

from chalicelib.aws.client import Unavailable
from chalicelib.aws.store import Store
from chalicelib.engine import state
from chalicelib.engine.metrics import logger
from chalicelib.engine.schema import Schema, State, Stored, Unreadable

Standing = Literal["held", "taken", "lost", "unknown"]

_TRIES = 3
_PLACES = 1000
_PLACE_KEPT_SECONDS = 86_400


class Lease(State, frozen=True):
    """The holder and the end (epoch seconds). `began_at` is when the holder's interval began."""

    holder: str
    until: float
    began_at: float = 0


LEASE = Schema(Lease, 1)


def has_lapsed(until: float, now: float, skew_seconds: float) -> bool:
    """Whether the holder must be gone, as long as no two clocks differ by more than `skew_seconds`."""
    return now > until + skew_seconds


class LeaseHolder:
    """One holder of the lease under `key`. `holder` marks this very call. It is a random text, not a request's id.

    The item's version grows with each write and never falls. It is the fencing token of each step. `least_seconds` is
    the time of a step, and no step begins on a lease that ends sooner.
    """

    def __init__(
        self, store: Store, key: state.Key, holder: str, began_at: float, *, seconds: float, least_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self.store, self.key, self.holder, self.began_at = store, key, holder, began_at
        self.seconds, self.least_seconds, self.clock = seconds, least_seconds, clock
        self.held: Stored[Lease] | None = None
        self.why = ""
        self._doubt = False

    @property
    def token(self) -> int:
        """The fencing token. 0 while nothing is held."""
        return self.held.version if self.held else 0

    def hold(self) -> Standing:
        """Takes the lease, or renews it.

        `taken` means that a holder of an earlier interval has it and is about to end. `lost` means that somebody else
        has it. `unknown` means that the store does not answer, or too late for a step. `why` says more.
        """
        try:
            standing = self._renew(self.held) if self.held and not self._doubt else self._look()
        except Unavailable as error:
            # What was asked for may have been done all the same: look before the next write.
            self._doubt, self.why, standing = True, f"the lease cannot be had: {error}", "held"
        return "unknown" if standing == "held" and not self._lasts() else standing

    def release(self) -> None:
        """Lets the next holder begin at once. The item stays, so that the token never falls."""
        try:
            if self.held:
                self._write(self.held, 0.0)
        except Unavailable as error:
            logger.warning("the lease was not given back and will run out", error=str(error))

    def _lasts(self) -> bool:
        return self.held is not None and self.clock() + self.least_seconds < self.held.value.until

    def _renew(self, held: Stored[Lease]) -> Standing:
        renewed = self._write(held, self.clock() + self.seconds)
        if renewed is None:
            return self._lose(state.find(self.store, self.key, LEASE))
        self.held = renewed
        return "held"

    def _look(self) -> Standing:
        found, now = state.find(self.store, self.key, LEASE), self.clock()
        if isinstance(found, Unreadable):
            # Somebody may hold it: without the lease nothing is done.
            return self._lose(found)
        ours = found is not None and found.value.holder == self.holder
        if found and not ours and (self.held or found.value.until > now):
            if not self.held and found.value.began_at < self.began_at:
                self.why = f"{found.value.holder} of an earlier interval has not ended"
                return "taken"
            return self._lose(found)
        taken = self._write(found, now + self.seconds)
        if taken is None:
            return self._lose(state.find(self.store, self.key, LEASE))
        self.held, self._doubt = taken, False
        return "held"

    def _lose(self, found: Stored[Lease] | Unreadable | None) -> Standing:
        self.held = None
        if isinstance(found, Unreadable):
            self.why = str(found)
        else:
            self.why = f"{found.value.holder if found else 'another one'} has the lease"
        return "lost"

    def _write(self, before: Stored[Lease] | None, until: float) -> Stored[Lease] | None:
        return state.write(self.store, self.key, LEASE, before, Lease(self.holder, until, self.began_at),
                           run_id=self.holder)


class Semaphore:
    """A limit on concurrent work, as leased places under one pk. This one holds at most one place.

    A place is never renewed. Its lease ends with its invocation, even if that dies. `unreadable` are the places of the
    last `acquire` that cannot be read, for an alert.
    """

    def __init__(self, store: Store, pk_prefix: str, skew_seconds: float) -> None:
        self._store, self._prefix, self._skew = store, pk_prefix, skew_seconds
        self.held: tuple[str, str, Stored[Lease]] | None = None
        self.unreadable: tuple[Unreadable, ...] = ()

    def acquire(self, name: str, limit: int, holder: str, *, now: float, until: float) -> bool:
        """Whether `holder` has one of the `limit` places of `name`, until `until` at the latest.

        An unreadable place counts as taken, because somebody may be at work there.
        """
        pk = f"{self._prefix}{name}"
        if self.held and self.held[0] == pk:
            return True
        self.release()
        items = {item.sk: item for item in self._store.query(pk, newest=False, limit=_PLACES)}
        values, self.unreadable = state.read_all(self._store, items.values(), LEASE)
        lapsed = {sk: values[pk, sk] for sk in items
                  if (pk, sk) in values and has_lapsed(values[pk, sk].value.until, now, self._skew)}
        taken = items.keys() - lapsed.keys()
        # Places beyond the limit count, too: it may have been higher when they were taken.
        if len(taken) >= limit:
            return False
        for sk in _free(taken, limit, holder)[:_TRIES]:
            lease, ttl = Lease(holder, until), int(until) + _PLACE_KEPT_SECONDS
            # A mark of this very try: SQS may hand one message, and so one holder, to two Lambdas.
            run_id = f"{holder}/{uuid.uuid4().hex}"
            place = state.write(self._store, (pk, sk), LEASE, lapsed.get(sk), lease, run_id=run_id, ttl=ttl)
            if place:
                self.held = (pk, sk, place)
                return True
        return False

    def release(self) -> None:
        """Gives the place back, if one is held."""
        held, self.held = self.held, None
        if held:
            pk, sk, place = held
            # Ended, not deleted: the version goes on growing. After a deletion it would begin anew, and a holder whose
            # lease had lapsed could take the next holder's place for its own.
            ended, ttl = Lease(place.value.holder, 0.0), int(place.value.until) + _PLACE_KEPT_SECONDS
            state.write(self._store, (pk, sk), LEASE, place, ended, ttl=ttl,
                        run_id=f"{ended.holder}/{uuid.uuid4().hex}")


def _free(taken: "set[str]", limit: int, holder: str) -> list[str]:
    """The free places, for everybody from somewhere else on, so that few meet at the same one."""
    names = [f"{number:04d}" for number in range(limit)]
    start = zlib.crc32(holder.encode()) % limit
    return [name for name in names[start:] + names[:start] if name not in taken]
