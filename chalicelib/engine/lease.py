"""The right to act, taken and renewed by compare-and-set, so that only one has it.

`LeaseHolder` is for one that works for long, renews it, and hands it to a successor. `Semaphore` is for at most so many
at the same time, none of which renews. A lease that is a part of a capability's own record is a decision of that
capability, carried out by `state.update`. `has_lapsed` tells it when the former holder must be gone.
"""

import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

from chalicelib.aws.client import Unavailable
from chalicelib.aws.store import Item, Store
from chalicelib.engine import state
from chalicelib.engine.metrics import logger
from chalicelib.engine.schema import ItemKey, Schema, State, Stored, Unreadable

Standing = Literal["held", "waiting", "lost", "unknown"]

_TRIES = 3
_PLACES = 1000
_PLACE_KEPT_SECONDS = 86_400
# No clock that anybody trusts is wrong by more (s). A place that ends later than that is cut to the longest run of a
# Lambda (AWS Lambda quotas, function timeout).
_IMPOSSIBLE_SECONDS, _LONGEST_RUN_SECONDS = 86_400, 900
# Two clocks count the same seconds to within this share, and a call takes its time.
_DRIFT_SECONDS = 1.0


class Lease(State, frozen=True):
    """The holder, empty once it was given back, and the one that was started later and waits for it."""

    holder: str
    successor: str


class Place(State, frozen=True):
    """The holder of one of the places of a semaphore and the end of its lease (epoch seconds)."""

    holder: str
    until: float


LEASE = Schema(Lease, 1)
PLACE = Schema(Place, 1)


def has_lapsed(until: float, now: float, skew_seconds: float) -> bool:
    """Whether the holder must be gone, as long as no two clocks differ by more than `skew_seconds`."""
    return now > until + skew_seconds


class LeaseHolder:
    """One holder of the lease under `key`. `holder` marks this very call. It is a random text, not a request's id.

    No two clocks are ever compared, so one that is an hour wrong does no harm. The holder counts `seconds` from its
    last renewal by its own clock. One that waits counts them from the moment at which it saw the item change. The
    item's version grows with each write and never falls. It is the fencing token of each step. `least_seconds` is the
    time of a step, and no step begins on a lease that ends sooner.

    The newest one wins. It writes its name as the successor, the holder ends after its step and gives the lease back,
    and an older one that still waits is lost.
    """

    def __init__(
        self, store: Store, key: state.Key, holder: str, *, seconds: float, least_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self.store, self.key, self.holder, self.clock = store, key, holder, clock
        self.seconds, self.least_seconds = seconds, least_seconds
        self.held: Stored[Lease] | None = None
        self.why = ""
        self._until = 0.0
        self._in_doubt = False
        self._was_held = False
        self._asked = False
        # The version that another one's lease had, and since when (this clock).
        self._watched = (0, 0.0)

    @property
    def token(self) -> int:
        """The fencing token. 0 while nothing is held."""
        return self.held.version if self.held else 0

    @property
    def successor(self) -> str:
        """The holder that waits for this lease. Empty if there is none."""
        return self.held.value.successor if self.held and self.held.value.successor != self.holder else ""

    def hold(self) -> Standing:
        """Takes the lease, or renews it.

        `waiting` means that another one has it, and that it knows of this one. `lost` means that somebody else has it
        or is to have it. `unknown` means that the store does not answer, or too late for a step. `why` says more.
        """
        try:
            standing = self._renew(self.held) if self.held and not self._in_doubt else self._look()
        except Unavailable as error:
            # What was asked for may have been done all the same: look before the next write.
            self._in_doubt, self.why, standing = True, f"the lease cannot be had: {error}", "unknown"
            if self.held:
                standing = "held"
        return "unknown" if standing == "held" and not self._lasts() else standing

    def release(self) -> None:
        """Lets the next holder begin at once. The item stays, so that the token never falls."""
        held = self.held
        for _ in range(_TRIES):
            try:
                if held is None or self._write(held, Lease("", held.value.successor)):
                    return
                # Another one has asked for the lease meanwhile. It would wait until the lease runs out.
                held = self._own()
            except Unavailable as error:
                logger.warning("the run could not give the lease back, and it runs out unless a try succeeds",
                               error=str(error))

    def _own(self) -> Stored[Lease] | None:
        item = self.store.get(*self.key)
        found = state.read(self.store, item, LEASE) if item else None
        return found if isinstance(found, Stored) and found.value.holder == self.holder else None

    def _lasts(self) -> bool:
        return self.clock() + self.least_seconds < self._until

    def _renew(self, held: Stored[Lease]) -> Standing:
        return "held" if self._take(held) else self._look()

    def _look(self) -> Standing:
        item = self.store.get(*self.key)
        found = state.read(self.store, item, LEASE) if item else None
        if isinstance(found, Stored) and found.value.holder == self.holder:
            # Whoever wrote meanwhile has only said that it waits. A third one may be writing now: there is time.
            self._in_doubt = not self._take(found)
            return "held"
        if self._was_held:
            return self._lose(found)
        if item and found and not self._is_free(item, found):
            return self._wait(found)
        # An unreadable lease that nobody has renewed for so long is overwritten.
        before = state.instead_of(item, Lease("", "")) if item and isinstance(found, Unreadable) else found
        if not isinstance(before, Unreadable) and self._take(before):
            return "held"
        self.why = "somebody else takes it at the same moment"
        return "waiting"

    def _take(self, before: Stored[Lease] | None) -> bool:
        """Whether the lease is this one's for another `seconds`. A successor goes on waiting."""
        until = self.clock() + self.seconds
        taken = self._write(before, Lease(self.holder, before.value.successor if before and self._was_held else ""))
        if taken:
            self.held, self._until, self._in_doubt, self._was_held = taken, until, False, True
        return taken is not None

    def _is_free(self, item: Item, found: Stored[Lease] | Unreadable) -> bool:
        if isinstance(found, Stored) and not found.value.holder and found.value.successor in ("", self.holder):
            return True
        if self._watched[0] != item.version:
            self._watched = (item.version, self.clock())
        return self.clock() > self._watched[1] + self.seconds + _DRIFT_SECONDS

    def _wait(self, found: Stored[Lease] | Unreadable) -> Standing:
        if isinstance(found, Unreadable):
            self.why = f"somebody may hold it: {found}"
            return "waiting"
        self.why = f"{found.value.holder or found.value.successor} has not ended"
        if found.value.successor == self.holder:
            return "waiting"
        if self._asked:
            return self._lose(found)
        if asked := self._write(found, Lease(found.value.holder, self.holder)):
            self._asked, self._watched = True, (asked.version, self._watched[1])
        return "waiting"

    def _lose(self, found: Stored[Lease] | Unreadable | None) -> Standing:
        self.held = None
        if isinstance(found, Unreadable):
            self.why = str(found)
        elif found and (found.value.holder if self._was_held else not found.value.successor):
            self.why = f"{found.value.holder} has the lease"
        else:
            self.why = f"{found.value.successor if found else 'another one'}, started later, is to have the lease"
        return "lost"

    def _write(self, before: Stored[Lease] | None, lease: Lease) -> Stored[Lease] | None:
        return state.write(self.store, self.key, LEASE, before, lease, run_id=self.holder)


class Semaphore:
    """A limit on concurrent work, as leased places under one pk. This one holds at most one place.

    A place is never renewed. Its lease ends with its invocation, even if that dies. `unreadable` are the places of the
    last `acquire` that cannot be read, for an alert, and those that ended in the far future.
    """

    def __init__(self, store: Store, pk_prefix: str, skew_seconds: float) -> None:
        self._store, self._prefix, self._skew = store, pk_prefix, skew_seconds
        self.held: tuple[str, str, Stored[Place]] | None = None
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
        values, unreadable = state.read_all(self._store, items.values(), PLACE)
        self.unreadable = (*unreadable, *self._cut(values, now))
        # Nobody is at work on a place that no holder could have taken.
        items = {sk: item for sk, item in items.items() if sk.isascii() and sk.isdigit()}
        lapsed = {sk: values[pk, sk] for sk in items
                  if (pk, sk) in values and has_lapsed(values[pk, sk].value.until, now, self._skew)}
        taken = items.keys() - lapsed.keys()
        # Places beyond the limit count, too: it may have been higher when they were taken.
        if len(taken) >= limit:
            return False
        for sk in _free(taken, limit, holder)[:_TRIES]:
            leased, ttl = Place(holder, until), int(until) + _PLACE_KEPT_SECONDS
            # A mark of this very try: SQS may hand one message, and so one holder, to two Lambdas.
            run_id = f"{holder}/{uuid.uuid4().hex}"
            place = state.write(self._store, (pk, sk), PLACE, lapsed.get(sk), leased, run_id=run_id, ttl=ttl)
            if place:
                self.held = (pk, sk, place)
                return True
        return False

    def _cut(self, values: Mapping[state.Key, Stored[Place]], now: float) -> Iterator[Unreadable]:
        """Bounds the places that would be taken for ever. Until their new end they count as taken, as any other."""
        for key, place in values.items():
            if place.value.until <= now + _IMPOSSIBLE_SECONDS:
                continue
            until = now + _LONGEST_RUN_SECONDS
            cut = state.write(self._store, key, PLACE, place, Place(place.value.holder, until),
                              run_id=f"cut/{uuid.uuid4().hex}", ttl=int(until) + _PLACE_KEPT_SECONDS)
            if cut:
                yield Unreadable(ItemKey(state.place(self._store), *key), f"its lease ended at {place.value.until:.0f} "
                                 f"s since 1970, which no run can hold. It was cut to {until:.0f}")

    def release(self) -> None:
        """Gives the place back, if one is held."""
        held, self.held = self.held, None
        if held:
            pk, sk, place = held
            # Ended, not deleted: the version goes on growing. After a deletion it would begin anew, and a holder whose
            # lease had lapsed could take the next holder's place for its own.
            ended, ttl = Place(place.value.holder, 0.0), int(place.value.until) + _PLACE_KEPT_SECONDS
            state.write(self._store, (pk, sk), PLACE, place, ended, ttl=ttl,
                        run_id=f"{ended.holder}/{uuid.uuid4().hex}")


def _free(taken: "set[str]", limit: int, holder: str) -> list[str]:
    """The free places, for everybody from somewhere else on, so that few meet at the same one."""
    names = [f"{number:04d}" for number in range(limit)]
    start = zlib.crc32(holder.encode()) % limit
    return [name for name in names[start:] + names[:start] if name not in taken]
