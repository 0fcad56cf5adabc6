"""The demo's users, with their answers, second by second, while regions die and come back."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Self

import msgspec

from chalicelib.routing.records import geography
from chalicelib.routing.records.geography import Order
from commands import roots
from sandbox.sample_app import HOSTNAME, PORT
from sandbox.users import PATIENCE_SECONDS, Errand, Moment
from sandbox.world import Sandbox

COUNTRIES = ("SE", "DE", "GB", "FR", "ZA", "US", "CA", "BR", "JP", "SG", "AU", "IN")


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
            env={"PYTHONPATH": str(roots.PRODUCT), "PATH": os.defpath}, start_new_session=True)
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


def fates(moments: Sequence[Moment], orders: Mapping[str, Order], dead: str, died: float, revived: float,
          end: float) -> list[Fate]:
    """Every user's who asked anything, by its order of regions. `dead` was so from `died` on until `revived`."""
    asked = {who: [moment for moment in moments if moment.who == who] for who in orders}
    return [_fate(own, orders[who], dead, died, revived, end) for who, own in asked.items() if own]


def _fate(own: Sequence[Moment], order: Order, dead: str, died: float, revived: float, end: float) -> Fate:
    spans = [(moment.at, later, moment.region) for moment, later in zip(
        own, [*(moment.at for moment in own[1:]), end], strict=True)]
    down = [(start, stop) for start, stop, region in spans if not region]
    total = sum(stop - start for start, stop in down)
    # Requests go out every 100 ms, so the first that failed may have been sent that much after the death.
    after = sum(stop - start for start, stop in down if died - 1 <= start < revived)
    back = [start for start, _, region in spans if region == order[0] and start >= revived]
    mine = order[0] == dead
    return Fate(own[0].who, order[0], order[1], round(after, 1) if mine else 0.0,
                round(min(back) - revived, 1) if mine and back else None,
                round(total - (after if mine else 0.0), 1), own[-1].sent, own[-1].failed)


def settled(now: Mapping[str, str], orders: Mapping[str, Order], away: Iterable[str] = ()) -> bool:
    """Whether every user is answered by the first region of its order that is not away."""
    gone = set(away)
    return all(now.get(who) == next(region for region in order if region not in gone)
               for who, order in orders.items())
