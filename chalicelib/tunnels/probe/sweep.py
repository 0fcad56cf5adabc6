"""All endpoints probed at once, each with one result. A hung one keeps its one pending probe.

The sockets are this module's own and outlive the event loop. A round may run each sweep in a loop of its own, while a
pending probe waits in the kernel. Within a sweep one poller watches all of them, and the event loop watches the poller.
That is several times faster than asyncio's streams or transports, which need a callback for each event.

docs/tunnels-probe.md has the limits of a sweep.
"""

import asyncio
import errno
import select
import socket
import time
from collections.abc import Sequence

from chalicelib.mysql.handshake import LONGEST, HandshakeResult
from chalicelib.tunnels.probe.pending import PendingProbes, Probe, Target
from chalicelib.tunnels.probe.result import ProbeResult

__all__ = ["PendingProbes", "Target", "sweep"]

# Connections are begun in rows, between which answers are read: thousands of them at once would overflow the backlog
# of a balancer that many endpoints share.
_ROW = 100
_IN_PROGRESS = frozenset({0, errno.EINPROGRESS})


async def sweep(
    targets: Sequence[Target], deadline: float, parked: PendingProbes, *, source: str = ""
) -> dict[str, ProbeResult]:
    """One result an endpoint, by its id, before `deadline` (of time.monotonic) or shortly after.

    Returns as soon as all have answered that have no pending probe. `source` is the local address to probe from. Raises
    `ValueError` if two targets have one id, and nothing else. A fault of an endpoint is in its result.

    - `up`: `answered`. The greeting came and the login was denied: tunnel, network and database work.
    - `local`: `refused` (nobody listens: ssh is dead, or ended because its forwarding failed), `reset` (ssh died with
      the connection in its queue), `unanswered` (the host does not take the connection: it is off, frozen or its
      network is, or ssh has been frozen for so long that its queue is full), `unreachable` (no way to the host, or a
      parked probe's host is gone).
    - `far`: `closed` (ssh takes the connection, cannot reach the database and closes: the database is down or the far
      network is), `blocked` (max_connect_errors is reached), `not-allowed` (no account may come from there),
      `too-many-connections`, `shutting-down`, `out-of-memory`, `out-of-threads`, `wrong-server` (the version is not
      what is expected: the tunnel leads elsewhere), `garbage` and `too-long` (what answers is no database), `counted`
      (the server takes the probe for an error; it is let alone for `HUSH` seconds lest it be blocked), `error`.
    - `ambiguous`: `hung` (connected, then nothing: ssh, sshd, the database or the way between them is frozen), `slow`
      (some bytes of a greeting), `mute` (a greeting, and no answer to the login), `cut` (the connection ended in
      mid-sentence), `not-probed` (no time or no socket left on this side).
    """
    run = _Sweep(targets, deadline, parked, source)
    try:
        return await run.run()
    finally:
        run.close()


class _Sweep:
    def __init__(self, targets: Sequence[Target], deadline: float, parked: PendingProbes, source: str) -> None:
        self.targets = {target.id: target for target in targets}
        if len(self.targets) < len(targets):
            raise ValueError("two endpoints have the same id")
        self.deadline, self.parked, self.source = deadline, parked, source
        self.verdicts: dict[str, ProbeResult] = {}
        self.probes: dict[int, Probe] = {}
        self.waiting = 0
        self.begun = False
        self.poller = select.epoll()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> dict[str, ProbeResult]:
        loop = asyncio.get_running_loop()
        loop.add_reader(self.poller.fileno(), self._readable)
        timer = loop.call_at(self.deadline, self._ready)
        try:
            self._resume()
            await self._begin()
            self.begun = True
            if self.waiting:
                await self.done
            self._pump()
        finally:
            timer.cancel()
            loop.remove_reader(self.poller.fileno())
        for probe in list(self.probes.values()):
            self._late(probe)
        return self.verdicts

    def close(self) -> None:
        """In any case unfinished probes stay pending, and no descriptor is lost."""
        for probe in self.probes.values():
            if _connected(probe.connection):
                self.parked.keep(probe)
            else:
                probe.connection.close()
        self.poller.close()

    def _resume(self) -> None:
        for probe in self.parked.take(time.monotonic()):
            target = self.targets.get(probe.target.id, probe.target)
            if (target.address, target.port) != (probe.target.address, probe.target.port):
                probe.connection.close()
                continue
            probe.target, probe.talk.expected = target, target.version
            self._watch(probe)
            self._hear(probe)

    async def _begin(self) -> None:
        present = {probe.target.id for probe in self.probes.values()} | set(self.verdicts)
        fresh = [target for id, target in self.targets.items() if id not in present]
        for start in range(0, len(fresh), _ROW):
            for target in fresh[start:start + _ROW]:
                self._start(target)
            self._pump()
            await asyncio.sleep(0)

    def _start(self, target: Target) -> None:
        now = time.monotonic()
        if found := self.parked.silenced(target, now):
            return self._tell(target, found, now)
        if now >= self.deadline:
            return self._tell(target, HandshakeResult("ambiguous", "not-probed", "no time left"), now)
        try:
            connection = socket.SocketType(socket.AF_INET6 if ":" in target.address else socket.AF_INET)
        except OSError as error:
            return self._tell(target, HandshakeResult("ambiguous", "not-probed", str(error)), now)
        connection.setblocking(False)
        self._connect(Probe(target, connection, now))

    def _connect(self, probe: Probe) -> None:
        try:
            if self.source:
                probe.connection.setsockopt(socket.IPPROTO_IP, _BIND_LATER, 1)
                probe.connection.bind((self.source, 0))
            failed = probe.connection.connect_ex((probe.target.address, probe.target.port))
        except OSError as error:
            failed = error.errno or errno.EIO
        self.waiting += 1
        if failed in _IN_PROGRESS:
            # The server speaks first: what is to be read, an error included, is all that is waited for.
            self._watch(probe)
        else:
            self._finish(probe, _failure(failed, probe))

    def _watch(self, probe: Probe) -> None:
        self.probes[probe.fd] = probe
        self.poller.register(probe.fd, select.EPOLLIN)

    def _pump(self) -> None:
        for fd, _ in self.poller.poll(0):
            self._hear(self.probes[fd])

    def _readable(self) -> None:
        try:
            self._pump()
        except BaseException as error:
            # A mistake of ours must not leave the sweep waiting until its deadline.
            if not self.done.done():
                self.done.set_exception(error)
        if self.begun and not self.waiting:
            self._ready()

    def _hear(self, probe: Probe) -> None:
        try:
            data = probe.connection.recv(LONGEST)
            if data:
                answer = probe.talk.data_received(data)
                if answer:
                    probe.connection.send(answer)
        except BlockingIOError:
            return
        except OSError as error:
            return self._finish(probe, _failure(error.errno or errno.EIO, probe))
        if not data:
            self._finish(probe, probe.talk.connection_closed())
        elif probe.talk.found:
            self._finish(probe, probe.talk.found)
        else:
            self._moved(probe)

    def _moved(self, probe: Probe) -> None:
        """A pending probe that hears something is waited for like a new one."""
        if probe.parked:
            probe.parked = False
            self.waiting += 1

    def _finish(self, probe: Probe, found: HandshakeResult) -> None:
        self.waiting -= not probe.parked
        self.probes.pop(probe.fd, None)
        # The poller forgets what is closed.
        probe.connection.close()
        self._tell(probe.target, found, probe.began)

    def _late(self, probe: Probe) -> None:
        if not probe.parked and not _connected(probe.connection):
            # Nobody has taken the connection, so giving it up disturbs nobody.
            return self._finish(probe, HandshakeResult("local", "unanswered"))
        self.poller.unregister(self.probes.pop(probe.fd).fd)
        self.parked.keep(probe)
        self._tell(probe.target, probe.talk.timed_out(), probe.began)

    def _tell(self, target: Target, found: HandshakeResult, began: float) -> None:
        if target.id in self.targets:
            spent = time.monotonic() - began
            self.verdicts[target.id] = ProbeResult(found.side, found.why, time.time(), spent, found.said)  # type: ignore[arg-type]
        if found.why == "counted":
            self.parked.silence(target, found, time.monotonic())

    def _ready(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


# Linux's IP_BIND_ADDRESS_NO_PORT: the port is chosen at connect, when any that is free towards that endpoint will do.
_BIND_LATER = 24


def _connected(connection: socket.SocketType) -> bool:
    try:
        connection.getpeername()
    except OSError:
        return False
    return True


def _failure(code: int, probe: Probe) -> HandshakeResult:
    """The meaning of a system call's error for the endpoint, or for this side."""
    said = errno.errorcode.get(code, str(code))
    if code == errno.ECONNREFUSED:
        return HandshakeResult("local", "refused")
    if code in (errno.ECONNRESET, errno.EPIPE):
        return probe.talk.connection_reset()
    if code in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.ENETDOWN):
        return HandshakeResult("local", "unreachable", said)
    return HandshakeResult("ambiguous", "not-probed", said)
