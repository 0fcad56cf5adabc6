"""The Lambda `tunnels_heal`. By schedule it runs rounds until the next one follows, manually one plan, and in the
primary's region reports."""

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from itertools import count
from typing import Any

import msgspec

from chalicelib.aws import refusals
from chalicelib.aws.client import BotoCoreError, ClientError
from chalicelib.context import RegionContext, here
from chalicelib.engine import run as engine
from chalicelib.engine.interval import run_rounds
from chalicelib.engine.operation import Operation, RunFailed
from chalicelib.engine.witness import Witness
from chalicelib.tunnels import operations, peer_report
from chalicelib.tunnels.probe.network import Network, SocketNetwork
from chalicelib.tunnels.probe.pending import Target
from chalicelib.tunnels.probe.result import ProbeResult
from chalicelib.tunnels.state import Endpoint

LEASE_KEY = ("tunnels", "lease")
# Of a round's time, what the probes may take: the rest is for what AWS is asked, before and after.
_PROBING = 0.6
# Of the rounds in which nothing happens, one in so many has a line in the log.
_LOGGED_ROUNDS = 30


class Controller:
    """The controller of one region. `network` keeps the unanswered probes of hung endpoints, which outlive a run."""

    def __init__(
        self, context: RegionContext, network: Network, wait: Callable[[float], None] = time.sleep
    ) -> None:
        self.context, self.network, self.tunnels, self._wait = context, network, context.fleet.tunnels, wait
        self.operation = operations.heal(self.probe)

    def probe(self, endpoints: Sequence[Endpoint]) -> Mapping[str, ProbeResult]:
        """The result of each endpoint, by instance id, within the better part of a round."""
        tunnels = self.tunnels
        if tunnels is None:
            return {}
        targets = [Target(one.id, one.address, tunnels.port, tunnels.server or "") for one in endpoints]
        # Where there is but one route, nobody is asked which one a host has taken.
        several = tunnels.hosts is not None and bool(tunnels.hosts.ways)
        return self.network.probe(targets, _PROBING * tunnels.every,
                                  health_port=tunnels.health_port if several else None)

    def handle(self, event: object, id: str) -> dict[str, Any]:
        """A scheduled event starts rounds. Anything else is one plan, which `{"apply": true}` carries out."""
        tunnels, context = self.tunnels, self.context
        if tunnels is None or not isinstance(event, dict) or "detail-type" not in event:
            return engine.run(self.operation, context, event, id)
        if tunnels.mode != "off" and tunnels.needs_tunnels(context.region):
            return self._rounds(self.operation, float(tunnels.every))
        if tunnels.mode != "off" and (server := peer_report.server(context)):
            reporting = peer_report.operation(self.network, server, tunnels.server or "")
            return self._rounds(reporting, peer_report.EVERY_SECONDS)
        # The rule is in every region's stack; where there is nothing to do its event says nothing.
        return {"operation": self.operation.name, "status": "done", "message": "nothing to repair here"}

    def _rounds(self, operation: Operation[Any], every_seconds: float) -> dict[str, Any]:
        holder, witness, numbers = uuid.uuid4().hex, Witness(), count()

        def one_round(at: float, token: int) -> None:
            # To the engine each round is an event of its own, with its own time and mark.
            event = {"detail-type": "Round", "time": datetime.fromtimestamp(at, UTC).isoformat()}
            engine.run(operation, self.context, event, f"{holder}/{token}", met_before=witness.unreadable,
                       may_be_silent=next(numbers) % _LOGGED_ROUNDS != 0)

        try:
            ended = run_rounds(witness.watched(self.context.local_store), LEASE_KEY, one_round, capability="tunnels",
                               clock=self.context.clock, wait=self._wait, holder=holder, every_seconds=every_seconds)
        except (ClientError, BotoCoreError) as error:
            raise RunFailed(f"{operation.name}: {refusals.explain(error)}") from error
        if ended.status == "failed":
            raise RunFailed(f"{operation.name}: {ended.because}")
        plain: dict[str, Any] = msgspec.to_builtins(ended)
        return plain


@cache
def _here() -> Controller:
    return Controller(here(), SocketNetwork())


def handle(event: object, context: Any) -> dict[str, Any]:
    """The Lambda's entry point."""
    return _here().handle(event, context.aws_request_id)


# What these probe they probe as the controller does.
OTHERS: tuple[Operation[Any], ...] = (
    operations.STATUS, *operations.by_hand(lambda endpoints: _here().probe(endpoints)))
