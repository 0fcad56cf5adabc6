"""journal.read. It changes nothing."""

from typing import Any

from chalicelib.context import RegionContext
from chalicelib.engine.operation import Operation, Rejected, Request
from chalicelib.engine.plan import Plan
from chalicelib.journal import decide, observe
from chalicelib.journal.decide import Entry, JournalFilter

Entries = tuple[str, list[Entry], bool]


def _observe(context: RegionContext, request: Request) -> Entries:
    try:
        window = decide.window(request.parameters, request.now)
    except ValueError as error:
        raise Rejected(f"journal.read: {error}") from None
    return (context.region, *observe.entries(context.local_store, request.parameters, window))


def _decide(seen: Entries, request: Request) -> Plan:
    return decide.read(*seen)


ALL: tuple[Operation[Any], ...] = (
    Operation("journal.read", "shows each action in this region, with its time, reason and operation", _observe,
              _decide, parameters=JournalFilter, raises_alerts=False),
)
