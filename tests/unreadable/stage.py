"""A run of one operation in a populated world, with one of the items that it reads made unreadable.

The items are those that the run itself reads, as the tables see it. So a read that somebody adds is tried without a
word about it here.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chalicelib.aws.store import Item
from chalicelib.engine import delivery, schema
from chalicelib.engine.alerts import SCHEMA as ALERTS
from chalicelib.engine.alerts import Alert, AlertGroup, AlertState
from testing.fakes import MemoryTable, Store

# Table (`local`, `shared`), pk, sk.
Key = tuple[str, str, str]

# What a run writes besides its work.
_BOOKS = ("local alerts/*", "local alert-events#*", "local journal#*", "local tunnels/lease",
          "shared taken-alert/unreadable#*")


class Stage(msgspec.Struct):
    """A populated world. `run` is one run of the operation, as its trigger begins it.

    `told` are the notices that people get, `effects` what the run did outside of the tables, one line for each effect.
    """

    tables: Mapping[str, Store]
    run: Callable[[], Any]
    told: Callable[[], Sequence[tuple[str, str]]]
    effects: Callable[[], Iterable[str]] = tuple


class Tools(msgspec.Struct):
    """What makes a stage may use pytest's own means."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch


class Scene(msgspec.Struct, frozen=True):
    """How a stage for the Lambda `operation` is made.

    `depends` says which effects need an item, as patterns: without it, they may stay away. Items in `counted` count by
    being there, whatever they say. Effects in `on_the_way` are of a run that stops half way. A run `by_hand` may name
    the item in its answer instead of an alert.
    """

    operation: str
    name: str
    make: Callable[[Tools], Stage]
    depends: Mapping[str, tuple[str, ...]] = {}
    counted: tuple[str, ...] = ()
    on_the_way: tuple[str, ...] = ()
    by_hand: bool = False

    def __str__(self) -> str:
        return f"{self.operation}: {self.name}"


class Run(msgspec.Struct, frozen=True):
    """What came of a run. `reads` says how often each item was found."""

    answer: Any
    error: str
    told: Sequence[tuple[str, str]]
    effects: frozenset[str]
    reads: Mapping[Key, int]


def untouched(key: Key, read: int) -> None:
    """Nobody changes an item."""


def carry_out(
    scene: Scene, tools: Tools, spoil: Callable[[Key, int], Callable[[Item], Item] | None] = untouched,
    strays: tuple[str, str] = ("", ""),
) -> Run:
    """One run. `spoil(key, read)` may change an item right before the run reads it for that time.

    Into the partition `strays` (table, pk) another program has written before.
    """
    stage, reads = scene.make(tools), Counter[Key]()
    if strays[1]:
        stray(stage.tables[strays[0]], strays[1])
    before = {name: dict(table.items) for name, table in stage.tables.items()}
    for name, table in stage.tables.items():
        def on_read(pk: str, sk: str, name: str = name, table: Store = table) -> None:
            key = (name, pk, sk)
            reads[key] += 1
            if change := spoil(key, reads[key]):
                item, _, ttl = table.items[pk, sk]
                bad = change(item)
                before[name][pk, sk] = table.items[pk, sk] = (bad, bad.write_id, ttl)
        table.on_read = on_read
    answer, error = None, ""
    try:
        answer = stage.run()
    except Exception as raised:
        error = f"{type(raised).__name__}: {raised}"
    for table in stage.tables.values():
        table.on_read = None
    effects = {*stage.effects(), *_written(stage, before)}
    return Run(answer, error, list(stage.told()), frozenset(effects), reads)


def _written(stage: Stage, before: Mapping[str, Mapping[Any, Any]]) -> Iterator[str]:
    for name, table in stage.tables.items():
        for key in before[name].keys() | table.items.keys():
            if before[name].get(key) != table.items.get(key):
                line = f"{name} {key[0]}/{key[1]}"
                if not any(fnmatchcase(line, book) for book in _BOOKS):
                    yield line


def remember_alert(table: MemoryTable, operation: str) -> None:
    """People know of an alert of this operation, which nobody can judge now."""
    alert = Alert("Sample", "sample", "It is an example.")
    told = AlertGroup(alert, 1.0, names=("sample",), told="firing", told_at=1.0)
    body = schema.encode(AlertState({"Sample//sample": told}), ALERTS)
    assert table.create(delivery.PK, operation, body)


# How an item may be, made of a good one.


def empty(item: Item) -> Item:
    """It says nothing."""
    return _replaced(item, {})


def older(item: Item) -> Item:
    """A release before 1.0 wrote it."""
    return _replaced(item, {name: value for name, value in item.body.items() if name not in ("schema", "run_id")})


def wrong_types(item: Item) -> Item:
    """Each of its fields has a value of another type."""
    wrong = {name: 7 if isinstance(value, str) else "seven" for name, value in item.body.items()}
    return _replaced(item, {**wrong, "schema": 1, "run_id": "another", "of_another": {"deep": [1, {}]}})


def huge(item: Item) -> Item:
    """It is as long as an item may be."""
    return _replaced(item, {**item.body, "schema": 1, "run_id": "another", "padding": "x" * 390_000})


def foreign(item: Item) -> Item:
    """Another program wrote it."""
    return Item(item.pk, item.sk, -1, {}, "it has no number as its version, so Lamplighter did not write it",
                {"S": "three"})


def stray(table: Store, pk: str) -> None:
    """Another program writes items beside those of a partition, before, between and behind them."""
    for sk in ["!", "~", *(f"{sk}x" for sk in table.sorted[pk])]:
        bad = foreign(Item(pk, sk, 1, {}))
        table.put(bad, "", None)


def far(item: Item, sign: int) -> Item:
    """It can be read, and all its numbers are out of any reason."""
    return _replaced(item, _far(item.body, sign))


def _far(value: Any, sign: int) -> Any:
    if isinstance(value, dict):
        return {name: part if name == "schema" else _far(part, sign) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_far(part, sign) for part in value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return type(value)(sign * 9e15)


def _replaced(item: Item, body: dict[str, Any]) -> Item:
    return Item(item.pk, item.sk, item.version + 1, body, write_id="another")


UNREADABLE: Mapping[str, Callable[[Item], Item]] = {
    each.__name__: each for each in (empty, older, wrong_types, huge, foreign)}


# What must hold.


def judge(scene: Scene, good: Run, bad: Run, key: Key, kind: str) -> Iterator[str]:
    """The harm of one item that is unreadable in this way."""
    yield from alive(bad)
    item, named = f"{key[0]} {key[1]}/{key[2]}", f"{key[1]}/{key[2]}"
    counts_by_being_there = _is_any(item, scene.counted)
    # To replace or to leave alone what cannot be read is the operation's own choice.
    own = set() if counts_by_being_there else {item}
    yield from (f"does {effect}, which it does not do otherwise" for effect in sorted(bad.effects - good.effects - own))
    allowed = [effect for pattern, effects in scene.depends.items() if fnmatchcase(item, pattern) for effect in effects]
    yield from (f"leaves out {effect}" for effect in sorted(good.effects - bad.effects - own)
                if not _is_any(effect, allowed))
    if counts_by_being_there:
        return
    notices = [text for subject, text in bad.told if subject == f"UnreadableItem: {named}"]
    if kind == "huge" and not notices and bad.effects >= good.effects:
        # Who wants but two of its fields can read it all the same.
        return
    if scene.by_hand and not notices:
        if named not in str(bad.answer):
            yield f"its answer does not name the item: {str(bad.answer)[:300]}"
    elif len(notices) != 1:
        yield f"people are told {len(notices)} times: {[subject for subject, _ in bad.told]}"
    elif "aws dynamodb get-item" not in notices[0] and "has replaced it" not in notices[0]:
        yield "the alert does not say how to look at the item"


def judge_half_way(scene: Scene, good: Run, bad: Run) -> Iterator[str]:
    """The harm of an item that becomes unreadable while the run goes on."""
    yield from alive(bad)
    yield from (f"does {effect}, which it does not do otherwise" for effect in sorted(bad.effects - good.effects)
                if not _is_any(effect, scene.on_the_way))


def alive(run: Run) -> Iterator[str]:
    """The harm of a run that did not end well."""
    if run.error:
        yield f"raises {run.error}"
    elif isinstance(run.answer, dict) and run.answer.get("status") == "failed":
        yield f"fails: {str(run.answer)[:300]}"


def _is_any(line: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(line, pattern) for pattern in patterns)
