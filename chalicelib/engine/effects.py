"""An external effect that is done at most once, only while its decision counts, and never late.

    done = effects.once(context.local_store, "tunnel-actions", action.key, lambda: restart(action), context.clock,
                        fence=lambda: effects.is_stale(action.decided_at, context.clock(), settings.stale_seconds)
                                      or effects.is_superseded(store, KEY, SCHEMA, run_id))

The key is claimed first, by creating its record. A caller that did not create it does nothing, because another one runs
it or did.
"""

import uuid
from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec

from chalicelib.aws.client import BotoCoreError, ClientError, Unavailable
from chalicelib.aws.store import Store
from chalicelib.engine import state
from chalicelib.engine.metrics import logger
from chalicelib.engine.schema import Schema, State, Unreadable

# A record outlives whatever could repeat its effect.
KEPT_SECONDS = 15 * 86_400


class EffectRecord(State, frozen=True):
    """That an effect was begun, and what came of it. `reference` finds it again at AWS (the id of a command).

    Without an outcome it is in progress, or nobody knows, because its process may have died.
    """

    started_at: float
    outcome: Literal["", "done", "refused"] = ""
    detail: str = ""
    reference: str = ""


RECORD = Schema(EffectRecord, 1)


class EffectResult(msgspec.Struct, frozen=True):
    """The result of one effect.

    `done` means that AWS accepted it. `refused` means that AWS did not, and `error` has the reason. `left` means that
    it was not tried, because it is late, superseded or done by another. `unknown` means that there was no answer, so it
    may have been done.
    """

    status: Literal["done", "refused", "left", "unknown"]
    detail: str = ""
    reference: str = ""
    error: Exception | None = None

    def __str__(self) -> str:
        return f"{self.status}: {self.detail}" if self.detail else self.status

    @property
    def error_code(self) -> str:
        """AWS's word for why it refused. Alerts of one code have one cause."""
        response = getattr(self.error, "response", {})
        code: str = response.get("Error", {}).get("Code", "") if isinstance(response, dict) else ""
        return code or (type(self.error).__name__ if self.error else "")


def once(
    store: Store, pk: str, key: str, do: Callable[[], str | None], clock: Callable[[], float], *,
    fence: Callable[[], str] = lambda: "",
) -> EffectResult:
    """Does `do` unless `key` was begun before or `fence` says why not. `do` gives a reference, or `None`.

    The fence is checked before the claim, so that a second run does not block the first, and once more right before the
    effect. Errors of `do` that are no answer of AWS are raised.
    """
    try:
        if reason := fence():
            return EffectResult("left", reason)
        record = EffectRecord(clock())
        claim = state.write(store, (pk, key), RECORD, None, record, run_id=uuid.uuid4().hex,
                            ttl=int(record.started_at) + KEPT_SECONDS)
        if claim is None:
            return EffectResult("left", "another run does it, or has done it")
        if reason := fence():
            return EffectResult("left", reason)
        reference = do() or ""
    except Unavailable as error:
        return EffectResult("unknown", f"no answer, so it may have happened ({error})", error=error)
    except (ClientError, BotoCoreError) as error:
        _note(store, pk, key, "refused", str(error), "")
        return EffectResult("refused", str(error), error=error)
    _note(store, pk, key, "done", "", reference)
    return EffectResult("done", reference=reference)


def outcomes(store: Store, pk: str, keys: Sequence[str]) -> tuple[dict[str, EffectRecord], tuple[Unreadable, ...]]:
    """The known results of effects, by key. Those that were never begun are not in it."""
    values, unreadable = state.load_many(store, [(pk, key) for key in keys], RECORD)
    return {sk: found.value for (_, sk), found in values.items()}, unreadable


def is_stale(decided_at: float, now: float, max_age_seconds: float) -> str:
    """Why a decision is too old to be carried out, however long its process stood still. Nothing if it is not."""
    age = now - decided_at
    return f"its decision rests on an observation of {age:.0f} s ago" if age > max_age_seconds else ""


def is_superseded(store: Store, key: state.Key, schema: Schema[Any], run_id: str) -> str:
    """The reason why a run may not act any more, because another one has written the state since. Nothing if it may."""
    try:
        state.current(store, key, schema, run_id=run_id)
    except state.Superseded as error:
        return str(error)
    return ""


def _note(store: Store, pk: str, key: str, outcome: Literal["done", "refused"], detail: str, reference: str) -> None:
    def noted(before: EffectRecord | None) -> EffectRecord | None:
        if before is None:
            return None
        return msgspec.structs.replace(before, outcome=outcome, detail=detail[:500], reference=reference)

    try:
        kept = state.find(store, (pk, key), RECORD)
        ttl = int(kept.value.started_at) + KEPT_SECONDS if kept and not isinstance(kept, Unreadable) else None
        state.update(store, (pk, key), RECORD, noted, run_id=key, ttl=ttl)
    except (Unavailable, ClientError, BotoCoreError) as error:
        # The effect is done; whoever asks what came of it learns that nobody knows.
        logger.warning("the run could not record the outcome of an effect", key=key, outcome=outcome, error=str(error))
