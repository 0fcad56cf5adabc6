"""What was done, and what people were told. Both operations change nothing."""

from collections.abc import Mapping, Sequence
from typing import Any

from chalicelib.context import RegionContext
from chalicelib.engine.alerts import AlertState
from chalicelib.engine.operation import Operation, Rejected, Request
from chalicelib.engine.plan import Plan
from chalicelib.engine.schema import Unreadable
from chalicelib.journal import decide, observe
from chalicelib.journal.decide import Entry, JournalFilter

Entries = tuple[str, list[Entry], bool]
StandingAlerts = tuple[str, Mapping[str, AlertState], Sequence[Unreadable]]


def _observe(context: RegionContext, request: Request) -> Entries:
    try:
        window = decide.window(request.parameters, request.now)
    except ValueError as error:
        raise Rejected(f"journal.read: {error}") from None
    return (context.region, *observe.entries(context.local_store, request.parameters, window))


def _decide(seen: Entries, request: Request) -> Plan:
    return decide.read(*seen)


def _observe_alerts(context: RegionContext, request: Request) -> StandingAlerts:
    return (context.region, *observe.alerts(context.local_store))


def _decide_alerts(seen: StandingAlerts, request: Request) -> Plan:
    return decide.standing(*seen)


ALL: tuple[Operation[Any], ...] = (
    Operation("journal.read", "shows each action in this region, with its time, reason and operation", _observe,
              _decide, parameters=JournalFilter, raises_alerts=False),
    Operation("journal.alerts", "shows the alerts of this region that are not over", _observe_alerts, _decide_alerts,
              raises_alerts=False),
)
