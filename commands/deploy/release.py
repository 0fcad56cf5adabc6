"""A package to every region of the fleet. Change sets come first, then the coordination table, then all regions at
once."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import msgspec

from chalicelib.infrastructure.parts import Json
from chalicelib.version import VERSION
from commands.deploy import (
    account,
    bucket,
    compatibility,
    concurrency,
    coordination,
    left_behind,
    pauses,
    queues,
    quotas,
    stacks,
)
from commands.deploy.account import Target, spoken
from commands.deploy.packaging import Package
from commands.deploy.pauses import Pauses
from commands.deploy.stacks import Pace, Prepared, Stack
from commands.errors import UsageError


class Done(msgspec.Struct, frozen=True):
    """The result of one stack.

    It is `deployed`, `removed`, `unchanged`, `declined` or `failed` (then `error` says why).
    """

    region: str
    stack: str
    status: str
    changes: dict[str, int] = {}
    seconds: float = 0.0
    error: str = ""


class Show(Protocol):
    """The display of a release."""

    def jobs(self, told: Sequence[tuple[str, str]]) -> None:
        """The effect of the release on the jobs, as pairs of a word and a name, and the paused jobs."""

    def warned(self, lines: Sequence[str]) -> None:
        """Lines that deserve attention, before anything is changed."""

    def prepared(self, plans: Sequence[Prepared]) -> None:
        """All change sets, before anything is changed."""

    def begin(self, plan: Prepared) -> None:
        """A stack is about to change."""

    def moved(self, stack: Stack, resource: str, status: str) -> None:
        """One resource of a stack has moved on. Called from several threads."""

    def end(self, done: Done) -> None:
        """A stack is through."""


def release(
    target: Target, package: Package, regions: Sequence[str], show: Show, agree: Callable[[], bool],
    look_seconds: float = 1.5, *, drop_messages: bool = False, drop_pauses: bool = False,
    remove_regions: Sequence[str] = (),
) -> list[Done]:
    """Deploy `package` to `regions`. The result of each stack, the coordination table's first.

    Then the stacks in `remove_regions` go, which fleet.toml no longer has.

    Raises `UsageError` when a change set cannot be made, would reserve more than the account's quota allows, would fail
    half-way, would delete messages without `drop_messages`, or would lose the pause of a job without `drop_pauses`.
    Then nothing was changed anywhere. A stack that fails is rolled back and reported as `failed`, the others go on.
    """
    over = threading.Event()
    pace = Pace(look_seconds, over=over.is_set)
    with ThreadPoolExecutor(max_workers=max(4, len(regions) + 1)) as pool:
        try:
            owner = account.number(target, package.fleet.home)
            held = Pauses(target, package)
            if not drop_pauses:
                pauses.refuse(held.lost())
            if short := [line for found in pool.map(
                    lambda region: list(concurrency.short_of(target, package, region)), regions) for line in found]:
                raise UsageError("\n".join(short))
            left = left_behind.found(target, package, pool)
            gone = left_behind.removable(target, left, remove_regions, drop_messages=drop_messages)
            table = coordination.place(target, package)
            if not stacks.exists(target, table):
                left_behind.refuse_table(target, package, pool)
            before = dict(zip(regions, pool.map(lambda region: _template(target, package, region), regions),
                              strict=True))
            if wrong := [*_refused(package, before), *quotas.short_of_roles(target, package, before)]:
                raise UsageError("\n".join(wrong))
            plans = _prepare_all(target, package, table, regions, owner, pace, pool)
            show.warned([*quotas.told(target, package, before),
                         *left_behind.told(left, gone),
                         *(f"{stack} will be deleted" for stack in gone)])
            show.prepared(plans)
            show.jobs(list(pauses.told(package.names, held.held)))
            if not drop_messages and (lost := [line for found in pool.map(
                    lambda plan: queues.lost_messages(target, plan), plans) for line in found]):
                list(pool.map(lambda plan: stacks.abandon(target, plan), plans))
                raise UsageError("\n".join([*lost, queues.REMEDY]))
            done = _release(target, plans, show, agree, pace, pool, held, always=bool(gone))
            everywhere = set(regions) >= {region.name for region in package.fleet.regions}
            if everywhere and all(one.status in ("deployed", "unchanged") for one in done):
                held.clear()
            if all(one.status in ("deployed", "unchanged") for one in done):
                done += pool.map(lambda stack: _remove(target, stack, pace, drop_messages=drop_messages), gone)
            return done
        finally:
            over.set()  # after Ctrl-C nobody waits any longer


def _release(
    target: Target, plans: Sequence[Prepared], show: Show, agree: Callable[[], bool], pace: Pace,
    pool: ThreadPoolExecutor, held: Pauses, *, always: bool,
) -> list[Done]:
    """`always` asks even if no stack would change."""
    if not always and not any(plan.changes for plan in plans):
        return [_unchanged(plan) for plan in plans]
    if not agree():
        list(pool.map(lambda plan: stacks.abandon(target, plan), plans))
        return [msgspec.structs.replace(_unchanged(plan), status="declined") for plan in plans]
    held.carry()
    first = _execute(target, plans[0], show, pace)
    if first.status == "failed":
        list(pool.map(lambda plan: stacks.abandon(target, plan), plans[1:]))
        return [first, *(msgspec.structs.replace(_unchanged(plan), status="declined") for plan in plans[1:])]
    return [first, *pool.map(lambda plan: _execute(target, plan, show, pace), plans[1:])]


def _template(target: Target, package: Package, region: str) -> Json | None:
    with spoken(region):
        return stacks.template(target, Stack(region, package.stack))


def _refused(package: Package, before: quotas.Deployed) -> Iterator[str]:
    """A line for each change of a stack that CloudFormation would refuse, and would roll back for."""
    for region, template in before.items():
        if template:
            yield from compatibility.mistakes(template, package.template, package.stack, region)


def _prepare_all(
    target: Target, package: Package, table: Stack, regions: Sequence[str], owner: str, pace: Pace,
    pool: ThreadPoolExecutor,
) -> list[Prepared]:
    """All change sets, or none. If one fails, the others are deleted."""
    tags = {"lamplighter": package.fleet.name, "stage": package.stage, "lamplighter-version": VERSION}
    waiting = [pool.submit(stacks.prepare, target, table, package.coordination, None, tags, pace)]
    waiting += [pool.submit(_prepare, target, package, region, owner, tags, pace) for region in regions]
    plans, wrong = [], []
    for one in waiting:
        try:
            plans.append(one.result())
        except UsageError as mistake:
            wrong.append(str(mistake))
    if wrong:
        list(pool.map(lambda plan: stacks.abandon(target, plan), plans))
        raise UsageError("\n".join(dict.fromkeys(wrong)))
    return plans


def _prepare(
    target: Target, package: Package, region: str, owner: str, tags: dict[str, str], pace: Pace
) -> Prepared:
    template, url = bucket.upload(target, package, region, owner)
    return stacks.prepare(target, Stack(region, package.stack), template, url, tags, pace)


def _execute(target: Target, plan: Prepared, show: Show, pace: Pace) -> Done:
    if not plan.changes:
        return _unchanged(plan)
    begun, done = time.monotonic(), Done(plan.stack.region, plan.stack.name, "deployed", plan.count())
    show.begin(plan)
    try:
        stacks.execute(target, plan, lambda resource, status: show.moved(plan.stack, resource, status), pace)
    except UsageError as mistake:
        done = msgspec.structs.replace(done, status="failed", error=str(mistake))
    done = msgspec.structs.replace(done, seconds=round(time.monotonic() - begun, 1))
    show.end(done)
    return done


def _remove(target: Target, stack: Stack, pace: Pace, *, drop_messages: bool) -> Done:
    """Deletes the stack. Its region ran on while the others were deployed, so its queues are looked at once more."""
    begun = time.monotonic()
    try:
        if not drop_messages and (lost := list(queues.messages_of(target, stack))):
            raise UsageError("\n".join([*lost, f"{stack} was not deleted. Stop what sends there, let these queues run "
                                       f"empty, and give --remove-region {stack.region} again. --drop-messages "
                                       "deletes the messages"]))
        stacks.remove(target, stack, pace)
    except UsageError as mistake:
        return Done(stack.region, stack.name, "failed", error=str(mistake))
    return Done(stack.region, stack.name, "removed", seconds=round(time.monotonic() - begun, 1))


def _unchanged(plan: Prepared) -> Done:
    return Done(plan.stack.region, plan.stack.name, "unchanged", plan.count())


class Quiet:
    """Shows nothing."""

    def warned(self, lines: Sequence[str]) -> None:
        """Nothing."""

    def jobs(self, told: Sequence[tuple[str, str]]) -> None:
        """Nothing."""

    def prepared(self, plans: Sequence[Prepared]) -> None:
        """Nothing."""

    def begin(self, plan: Prepared) -> None:
        """Nothing."""

    def moved(self, stack: Stack, resource: str, status: str) -> None:
        """Nothing."""

    def end(self, done: Done) -> None:
        """Nothing."""


def plain(results: Sequence[Done]) -> list[dict[str, Any]]:
    """The results for `--json`."""
    found: list[dict[str, Any]] = msgspec.to_builtins(list(results))
    return found
