"""The Lambda `tunnels_heal`. By schedule it runs a minute of rounds, manually one plan. In the primary's region, the
peer report."""

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache, partial
from typing import Any

import msgspec
from msgspec.structs import replace

from chalicelib import context as site
from chalicelib.context import RegionContext
from chalicelib.engine import run as engine
from chalicelib.engine.operation import Operation, RunFailed
from chalicelib.tunnels import canary, observe_target, operations, rounds
from chalicelib.tunnels.config import Tunnels
from chalicelib.tunnels.probe.pending import PendingProbes, Target
from chalicelib.tunnels.probe.result import ProbeResult
from chalicelib.tunnels.probe.sweep import sweep
from chalicelib.tunnels.state import Endpoint

# Of a round's time, what the probes may take: the rest is for what AWS is asked, before and after.
_PROBING = 0.6


class Healer:
    """The controller of one site. `parked` are the unanswered probes of hung endpoints, which outlive a minute."""

    def __init__(self, here: RegionContext, parked: PendingProbes, wait: Callable[[float], None] = time.sleep) -> None:
        self.site, self.tunnels, self._parked, self._wait = here, here.fleet.tunnels, parked, wait
        self.operation = operations.heal(self.look)

    def look(self, endpoints: Sequence[Endpoint]) -> Mapping[str, ProbeResult]:
        """The result of each endpoint, by instance id, within the better part of a round."""
        if self.tunnels is None:
            return {}
        return asyncio.run(self._look(self.tunnels, endpoints))

    async def _look(self, tunnels: Tunnels, endpoints: Sequence[Endpoint]) -> Mapping[str, ProbeResult]:
        seconds = _PROBING * tunnels.every
        targets = [Target(one.id, one.address, tunnels.port, tunnels.server or "") for one in endpoints]
        asked = {one.id: one.address for one in endpoints} if tunnels.hosts and tunnels.hosts.ways else {}
        verdicts, leads = await asyncio.gather(sweep(targets, time.monotonic() + seconds, self._parked),
                                               observe_target.connected_regions(asked, tunnels.health_port, seconds))
        return {id: replace(verdict, connected_region=leads.get(id, "")) for id, verdict in verdicts.items()}

    def handle(self, event: object, id: str) -> dict[str, Any]:
        """A scheduled event is a minute of rounds. Anything else one plan, which `{"apply": true}` carries out."""
        if self.tunnels is None or not isinstance(event, dict) or "detail-type" not in event:
            return engine.run(self.operation, self.site, event, id)
        if self.tunnels.mode != "off" and self.tunnels.needs_tunnels(self.site.region):
            return self._minute(self.operation, float(self.tunnels.every))
        if self.tunnels.mode != "off" and (server := canary.server(self.site)):
            version = self.tunnels.server or ""
            return self._minute(canary.operation(lambda: canary.database(server, version, self._parked)), canary.EVERY)
        # The rule is in every region's stack; where there is nothing to do its event says nothing.
        return {"operation": self.operation.name, "status": "done", "message": "nothing to heal here"}

    def _minute(self, operation: Operation[Any], every: float) -> dict[str, Any]:
        holder = uuid.uuid4().hex
        ended = rounds.minute(self.site.local_store, partial(self._round, operation, holder), clock=self.site.clock,
                              wait=self._wait, holder=holder, every=every)
        if ended.status == "failed":
            raise RunFailed(f"{operation.name}: {ended.why}")
        plain: dict[str, Any] = msgspec.to_builtins(ended)
        return plain

    def _round(self, operation: Operation[Any], holder: str, at: float, token: int) -> None:
        # To the loop each round is an event of its own, with its own time and mark.
        event = {"detail-type": "Round", "time": datetime.fromtimestamp(at, UTC).isoformat()}
        engine.run(operation, self.site, event, f"{holder}/{token}")


@cache
def _here() -> Healer:
    return Healer(site.here(), PendingProbes())


def handle(event: object, context: Any) -> dict[str, Any]:
    """The Lambda's entry point."""
    return _here().handle(event, context.aws_request_id)


def by_hand() -> tuple[Operation[Any], ...]:
    """The other operations. They probe in the same way as the controller."""
    return (operations.STATUS, *operations.by_hand(lambda endpoints: _here().look(endpoints)))
