"""Users in twelve countries for the product of a sandbox, and what each of them is answered by."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from chalicelib import geography
from chalicelib.geography import Order
from sandbox.sample_app import HOSTNAME, PORT
from sandbox.users import PATIENCE_SECONDS, Errand, Moment
from sandbox.world import Sandbox

_PRODUCT = Path(__file__).resolve().parents[1]
COUNTRIES = ("SE", "DE", "GB", "FR", "ZA", "US", "CA", "BR", "JP", "SG", "AU", "IN")


def orders(regions: Sequence[str]) -> dict[str, Order]:
    """The order of `regions` that Route 53 is to follow for each user."""
    known = geography.orders(regions)
    return {who: known[who] for who in COUNTRIES}


def settled(now: Mapping[str, str], wanted: Mapping[str, Order], away: Iterable[str] = ()) -> bool:
    """Whether there are users, and each is answered by the first region of its order that is not away."""
    gone = set(away)
    return bool(wanted) and all(now.get(who) == next(region for region in order if region not in gone)
                                for who, order in wanted.items())


class Outage(msgspec.Struct):
    """The death of a region, once it is `allowed`, and its return. Times are epoch seconds, 0 before."""

    region: str
    allowed: bool = False
    died: float = 0.0
    returned: float = 0.0


class Fate(msgspec.Struct, frozen=True):
    """The results of one user. They are the seconds without answers after the death, until its own region had it back,
    and in all other time, and the number of failed requests."""

    who: str
    nearest: str
    second: str
    down_seconds: float
    back_after: float | None
    otherwise_down: float
    sent: int
    failed: int


def fates(moments: Sequence[Moment], orders: Mapping[str, Order], outage: Outage, end: float) -> list[Fate]:
    """Every user's who asked anything, by its order of regions. `end` is the time of the last look at them."""
    asked = {who: [moment for moment in moments if moment.who == who] for who in orders}
    return [_fate(own, orders[who], outage, end) for who, own in asked.items() if own]


def _fate(own: Sequence[Moment], order: Order, outage: Outage, end: float) -> Fate:
    spans = [(moment.at, later, moment.region) for moment, later in zip(
        own, [*(moment.at for moment in own[1:]), end], strict=True)]
    down = [(start, stop) for start, stop, region in spans if not region]
    # Requests go out every 100 ms, so the first that failed may have been sent that much after the death.
    after = sum(stop - start for start, stop in down if outage.died - 1 <= start < outage.returned)
    back = [start for start, _, region in spans if region == order[0] and start >= outage.returned]
    mine = order[0] == outage.region
    return Fate(own[0].who, order[0], order[1], round(after, 1) if mine else 0.0,
                round(min(back) - outage.returned, 1) if mine and back else None,
                round(sum(stop - start for start, stop in down) - (after if mine else 0.0), 1),
                own[-1].sent, own[-1].failed)


class Crowd:
    """One user in each of the countries, from `with` to its end."""

    def __init__(self, world: Sandbox, patience: float = PATIENCE_SECONDS) -> None:
        self.moments: list[Moment] = []
        networks = {who: f"198.18.{number}.0/24" for number, who in enumerate(COUNTRIES)}
        for who, network in networks.items():
            place = geography.places()[who]
            world.place(network, geography.places()[place.within].code, place.code)
        self._errand = Errand(world.dns_port, HOSTNAME, PORT, networks, patience)
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "sandbox.users"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={"PYTHONPATH": str(_PRODUCT), "PATH": os.defpath}, start_new_session=True)
        if self._process.stdin:
            self._process.stdin.write(msgspec.json.encode(self._errand) + b"\n")
            self._process.stdin.flush()
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()
        return self

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        for line in process.stdout or ():
            self.moments.append(msgspec.json.decode(line, type=Moment))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.end()

    def end(self) -> None:
        """The users go home. Every moment is known then."""
        if self._process and self._process.stdin and not self._process.stdin.closed:
            self._process.stdin.close()
            if self._reader:
                self._reader.join()
            self._process.wait()
            if self._process.stdout:
                self._process.stdout.close()

    def now(self) -> dict[str, str]:
        """The region that answers each user. Empty for one whose requests fail."""
        return {moment.who: moment.region for moment in tuple(self.moments)}
