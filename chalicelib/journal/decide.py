"""The part of a journal that is asked for, and the alerts that are not over, as reports. Pure."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from chalicelib import foreign
from chalicelib.config import durations
from chalicelib.engine.alerts import AlertGroup, AlertState
from chalicelib.engine.plan import Plan
from chalicelib.engine.schema import Unreadable

# As long as the journal is kept.
KEPT_DAYS = 90
# A Lambda answers with at most 6 MB; an entry has at most 50 actions.
ENTRIES_MAX = 200


class JournalFilter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Entries of the last `since` (a span), the newest `limit` of them. `operation` is a name or its beginning."""

    since: str = "1d"
    operation: str = ""
    limit: int = 50


class Window(msgspec.Struct, frozen=True):
    """The days to read, newest first, and the first second (epoch) that is wanted."""

    days: tuple[str, ...]
    start: float


class Entry(msgspec.Struct, frozen=True):
    """The fields of an entry, and its time as in 2026-03-29T00:59:30Z. `unreadable` says why there are no fields."""

    at: str
    fields: dict[str, Any] = {}
    unreadable: str = ""


def window(wanted: JournalFilter, now: float) -> Window:
    """The time that `wanted` reaches over. `ValueError` says what is wrong with it."""
    seconds = durations.seconds(wanted.since)
    if not 0 < seconds <= KEPT_DAYS * 86_400:
        raise ValueError(f"since={wanted.since}: write 1s to {KEPT_DAYS}d, which is how long the journal is kept")
    if not 1 <= wanted.limit <= ENTRIES_MAX:
        raise ValueError(f"limit={wanted.limit}: write 1 to {ENTRIES_MAX}")
    last, first = (datetime.fromtimestamp(at, UTC).date() for at in (now, now - seconds))
    days = tuple(f"{last - timedelta(days=back):%Y-%m-%d}" for back in range((last - first).days + 1))
    return Window(days, now - seconds)


def matches(name: str, wanted: JournalFilter) -> bool:
    """Whether the entry `name`, as in `12:34:56#tunnels.repair#1f`, is of a wanted operation."""
    _, _, rest = name.partition("#")
    return rest.startswith(wanted.operation)


def read(region: str, entries: Sequence[Entry], left_out: bool) -> Plan:
    """The report. `left_out` says that there are older entries."""
    return Plan(report={"region": region, "left_out": left_out, "entries": [_plain(region, one) for one in entries]})


def _plain(region: str, entry: Entry) -> dict[str, Any]:
    if entry.unreadable:
        return {"at": entry.at, "region": region, "unreadable": entry.unreadable}
    return {"at": entry.at, **entry.fields}


def standing(region: str, states: Mapping[str, AlertState], unreadable: Sequence[Unreadable]) -> Plan:
    """The alerts of conditions that hold, the oldest first. Events have no end, and are in the journal and in `status`.

    `told` is when people were told, or `None` while no notice has come through.
    """
    groups = [(operation, group) for operation, one in states.items() for group in one.groups.values()
              if group.holds and not group.alert.event]
    groups.sort(key=lambda one: (one[1].since, one[1].alert.kind, one[1].alert.target))
    return Plan(report={
        "region": region, "alerts": [_alert(region, operation, group) for operation, group in groups],
        "unreadable": [str(item) for item in unreadable]})


def _alert(region: str, operation: str, group: AlertGroup) -> dict[str, Any]:
    alert = group.alert
    return {
        "region": region, "operation": operation, "alert": alert.kind, "targets": list(group.names),
        "count": group.count, "since": _time(group.since), "told": _time(group.told_at) if group.told else None,
        "problem": alert.problem, "tried": list(alert.tried), "steps": list(alert.steps)}


def _time(at: float) -> str | None:
    return foreign.moment(at, "%Y-%m-%dT%H:%M:%SZ") if at else None
