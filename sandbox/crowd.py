"""Users in twelve countries for the product of a sandbox, and what each of them is answered by."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from chalicelib import geography
from sandbox.sample_app import HOSTNAME, PORT
from sandbox.users import PATIENCE_SECONDS, Errand, Moment
from sandbox.world import Sandbox

_PRODUCT = Path(__file__).resolve().parents[1]
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
