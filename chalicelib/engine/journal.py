"""The journal of all actions with caller, reason and result, written before the actions and completed after them.

One item for each run with audited actions, under `journal#<day>`/`<time>#<operation>#<random>` of the local store.
"""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from chalicelib.aws.client import AWS_ERRORS
from chalicelib.aws.store import Store
from chalicelib.engine import state
from chalicelib.engine.metrics import count, logger
from chalicelib.engine.operation import Request
from chalicelib.engine.plan import Action
from chalicelib.engine.schema import Schema, State, Stored
from chalicelib.version import VERSION

KEPT_DAYS = 90
# An item holds 400 KB: an entry has the first so many actions and counts the rest, and so many bytes of them.
_ACTIONS, _BYTES = 50, 250_000


class JournalEntry(State, frozen=True):
    """One run. `version` is that of Lamplighter. `count` the number of actions, of which `actions` has the first."""

    operation: str
    region: str
    trigger: str
    request: str
    digest: str
    count: int
    actions: tuple[dict[str, Any], ...]
    notes: tuple[str, ...] = ()
    results: tuple[str, ...] = ()
    version: str = VERSION


SCHEMA = Schema(JournalEntry, 1)


class OpenEntry(msgspec.Struct, frozen=True):
    """An entry whose actions are under way."""

    key: tuple[str, str]
    stored: Stored[JournalEntry]
    ttl: int


def begin(
    store: Store, request: Request, *, operation: str, region: str, digest: str, notes: Sequence[str],
    actions: Sequence[Action],
) -> OpenEntry:
    """Writes the entry. An action that cannot be recorded does not run, because the store's error is raised."""
    at = datetime.fromtimestamp(request.now, UTC)
    entry = JournalEntry(operation, region, request.trigger, request.id, digest, len(actions), _plain(actions),
                         tuple(notes))
    key = (f"journal#{at:%Y-%m-%d}", f"{at:%H:%M:%S}#{operation}#{uuid.uuid4().hex[:8]}")
    ttl = request.now + KEPT_DAYS * 86_400
    stored = state.write(store, key, SCHEMA, None, entry, run_id=request.run_id, ttl=ttl)
    return OpenEntry(key, stored or Stored(entry), ttl)


def end(store: Store, opened: OpenEntry, results: Sequence[str]) -> None:
    """Adds what came of it. The actions are done by now, so that a store that does not answer fails nothing."""
    entry = msgspec.structs.replace(opened.stored.value, results=tuple(results[:_ACTIONS]))
    try:
        state.write(store, opened.key, SCHEMA, opened.stored, entry, run_id=opened.stored.run_id, ttl=opened.ttl)
    except AWS_ERRORS as error:
        count("JournalIncomplete", operation=entry.operation)
        logger.error("the outcome of the actions is not in the journal but here", operation=entry.operation,
                     entry="/".join(opened.key), results=entry.results, error=str(error))


def _plain(actions: Sequence[Action]) -> tuple[dict[str, Any], ...]:
    plain: list[dict[str, Any]] = msgspec.to_builtins(actions[:_ACTIONS])
    if len(msgspec.json.encode(plain)) > _BYTES:
        plain = [{**one, "details": {"left_out": "too long for the journal"}} for one in plain]
    return tuple(plain)
