"""The probes without an answer in time. They stay open, one for each endpoint, so that a late answer can complete them.
"""

import ipaddress
import socket
from functools import lru_cache

import msgspec

from chalicelib.mysql.handshake import Handshake, HandshakeResult

# A parked probe hears nothing for a long time, so the kernel asks after its host: a host that is gone, or was replaced
# by another with its address, ends the probe after 6 s; a process that merely hangs does not. (macOS names the first
# of these otherwise; there the system's two hours hold.)
_KEEPALIVE = {"TCP_KEEPIDLE": 3, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": 3}
# For how long a parked probe is waited for (s). Its database may have gone without a word, which sshd does not notice.
PENDING_PROBE_MAX_SECONDS = 900.0
# After an answer that says that the server counted the probe against its host, the endpoint is let alone (s).
SUPPRESS_SECONDS = 600.0


@lru_cache(maxsize=1024)
def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


class Target(msgspec.Struct, frozen=True):
    """An endpoint. `address` is an IP address, `version` a text in the server's version (empty is any)."""

    id: str
    address: str
    port: int
    version: str = ""

    def __post_init__(self) -> None:
        if not _is_address(self.address):
            # A name would be looked up while all the others wait.
            raise ValueError(f"endpoint {self.id}: {self.address!r} is not an IP address")
        if not 0 < self.port < 65_536:
            raise ValueError(f"endpoint {self.id}: {self.port} is not a TCP port")


class Probe:
    """One connection to `target`, begun at `began` (monotonic seconds). A sweep does not wait for a `parked` one."""

    __slots__ = ("began", "connection", "fd", "parked", "talk", "target")

    def __init__(self, target: Target, connection: socket.SocketType, began: float) -> None:
        self.target, self.connection, self.fd, self.began = target, connection, connection.fileno(), began
        self.talk = Handshake(target.version)
        self.parked = False


class PendingProbes:
    """The probes that hung endpoints have not answered yet, one an endpoint, kept from sweep to sweep.

    Sweep at least every few seconds, even without a decision. A server that thaws waits `connect_timeout` (10 s by
    default) for the answer, and counts a later one as an error.

    `close` is for the end of the process. Each probe that it closes counts as one error when its endpoint thaws.
    """

    def __init__(self, patience: float = PENDING_PROBE_MAX_SECONDS, hush: float = SUPPRESS_SECONDS) -> None:
        self.patience, self.hush = patience, hush
        self._probes: dict[str, Probe] = {}
        self._hushed: dict[str, tuple[float, HandshakeResult]] = {}

    def __len__(self) -> int:
        return len(self._probes)

    def __contains__(self, id: str) -> bool:
        return id in self._probes

    def close(self) -> None:
        """Ends them all."""
        for probe in self._probes.values():
            probe.connection.close()
        self._probes.clear()

    def keep(self, probe: Probe) -> None:
        """Park `probe`, which is connected."""
        if not probe.parked:
            probe.parked = True
            probe.connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in _KEEPALIVE.items():
                if hasattr(socket, option):
                    probe.connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        self._probes[probe.target.id] = probe

    def take(self, now: float) -> list[Probe]:
        """All that are still worth waiting for, which the caller then owns. The others are closed."""
        probes, self._probes = list(self._probes.values()), {}
        for probe in probes:
            if now - probe.began >= self.patience:
                probe.connection.close()
        return [probe for probe in probes if now - probe.began < self.patience]

    def silence(self, target: Target, found: HandshakeResult, now: float) -> None:
        """Let an endpoint alone for a while, for the reason in `found`."""
        self._hushed[target.id] = now + self.hush, found

    def silenced(self, target: Target, now: float) -> HandshakeResult | None:
        """The reason why the endpoint is let alone. `None` if it may be probed."""
        until, found = self._hushed.get(target.id, (now, None))
        if until > now:
            return found
        self._hushed.pop(target.id, None)
        return None
