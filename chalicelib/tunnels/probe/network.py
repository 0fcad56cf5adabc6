"""The network as a port of the tunnels' operations, with the results of probes, and the address of a name.

The real one has sockets, and keeps the probes that hung endpoints owe an answer from one minute to the next.
"""

import asyncio
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec.structs import replace

from chalicelib.tunnels import observe_target
from chalicelib.tunnels.probe.pending import PendingProbes, Target
from chalicelib.tunnels.probe.result import ProbeResult
from chalicelib.tunnels.probe.sweep import sweep


class Network(Protocol):
    """The hosts that sockets reach."""

    def probe(
        self, targets: Sequence[Target], seconds: float, *, health_port: int | None = None
    ) -> Mapping[str, ProbeResult]:
        """One result for each target by its id, in about `seconds`. With `health_port` each host is asked there, too,
        which region it is connected to."""

    def address(self, host: str, port: int) -> str:
        """The IP address that `host` has now. Raises `OSError` if it has none."""


class SocketNetwork:
    """The real network."""

    def __init__(self, pending: PendingProbes | None = None) -> None:
        self._pending = PendingProbes() if pending is None else pending

    def probe(
        self, targets: Sequence[Target], seconds: float, *, health_port: int | None = None
    ) -> Mapping[str, ProbeResult]:
        return asyncio.run(self._probe(targets, seconds, health_port))

    async def _probe(
        self, targets: Sequence[Target], seconds: float, health_port: int | None
    ) -> Mapping[str, ProbeResult]:
        sweeping = sweep(targets, time.monotonic() + seconds, self._pending)
        if health_port is None:
            return await sweeping
        addresses = {target.id: target.address for target in targets}
        results, regions = await asyncio.gather(
            sweeping, observe_target.connected_regions(addresses, health_port, seconds))
        return {id: replace(result, connected_region=regions.get(id, "")) for id, result in results.items()}

    def address(self, host: str, port: int) -> str:
        return str(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0])
