"""The judge of what people are told about a fleet of databases: what holds is told in time, and nothing else.

What holds is read from the simulated servers themselves.
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from testing.databases import FakeServer

if TYPE_CHECKING:
    from simulation.databases.checker import Checker

# So long after what disturbed a region, what holds there is told.
_TOLD_SECONDS = 190
# What is told as over is not told again for so long, and what lasts is repeated after so long.
_QUIET_SECONDS, _REPEAT_SECONDS = 600, 3500
# A notice may be so old: a look at the server, an invocation that stands still, the moment in between.
_NEWS_SECONDS = 130
# So long after a notice (s) its run has written that it went out.
_SETTLED_SECONDS = 30
# What a promotion does to its own candidate, and for how long (s) that is nobody's business but the promotion's.
_OF_PROMOTION, _UNFINISHED_SECONDS = ("IOThreadStopped", "SQLThreadStopped", "NotReplicating"), 600
_TOLD_BY = {"databases.watch": ("DatabaseUnreachable", *_OF_PROMOTION), "databases.heal": ("ReplicationBroken",)}
_TELLS = {kind: operation.removeprefix("databases.") for operation, kinds in _TOLD_BY.items() for kind in kinds}
# Errors of events that would fail again, and that of a source that does not have what its replica needs.
ABOUT_DATA, SOURCE_LACKS = (1062, 1032, 1452), 1236


class Condition(msgspec.Struct):
    """Whether something holds in a region, when it last did, and whether people believe that it does.

    `due_since` is the time since when that it holds, or that it does not, is to be told.
    """

    holds: bool = False
    due_since: float = 0.0
    last_held: float = -1e9
    believed: bool = False
    told_at: float = -1e9
    over_at: float = -1e9


class NoticeChecker:
    """Compares the notices with the servers. `checker` knows the true primary, and when a region was disturbed."""

    def __init__(self, checker: "Checker") -> None:
        self._checker, self._world = checker, checker.world
        self._conditions = {(region, kind): Condition() for region in self._world.regions for kind in _TELLS}
        self._unreadable: list[tuple[float, str, str]] = []
        self._heard: list[tuple[float, str, str]] = []
        # The last look of a run of this operation in this region that ended without any failure.
        self._seen: dict[tuple[str, str], float] = {}
        # Of `_OF_PROMOTION` those that held when the last promotion was claimed.
        self._held_at_claim: frozenset[str] = frozenset()

    # What happens.

    def unanswered(self, region: str) -> None:
        """The server of a region gives no answer at this moment."""
        self._conditions[region, "DatabaseUnreachable"].last_held = self._world.now

    def answered_lately(self, server: FakeServer) -> bool:
        """Whether a server answers, or did ten seconds ago."""
        last = self._conditions[server.region, "DatabaseUnreachable"].last_held
        return server.answers or self._world.now - last < 10

    def ended(self, region: str, operation: str, looked_at: float) -> None:
        """A run has seen its server, and then has done, stored and told all that there was."""
        self._seen[region, operation] = max(self._seen.get((region, operation), 0), looked_at)

    def claimed(self, to: str) -> None:
        """A promotion begins."""
        of_candidate = {kind: self._conditions[to, kind] for kind in _OF_PROMOTION}
        self._held_at_claim = frozenset(
            kind for kind, condition in of_candidate.items()
            if condition.holds or self._world.now - condition.last_held < _NEWS_SECONDS)

    def forgot(self, region: str, key: tuple[str, str]) -> None:
        """An item of a region's own table is no longer what the product wrote."""
        if key[0] == "alerts":
            # Whatever else people were told by another operation they go on believing.
            for kind in _TOLD_BY[key[1]]:
                self._conditions[region, kind].believed = False
                self._conditions[region, kind].over_at = self._conditions[region, kind].told_at = -1e9
        if key in (("databases", "watch"), ("databases", "heal")):
            self._unreadable.append((self._world.now, region, f"UnreadableItem: {key[0]}/{key[1]}"))

    def shown(self, server: FakeServer) -> None:
        """A server says how it is, also in a moment between two looks of the checker."""
        for kind, holds in _holding(server).items():
            self._track(server.region, kind, holds)

    # What is told.

    def told(self, region: str, subject: str, began: float, record: Mapping[str, Any]) -> None:
        """A notice reaches people. Its invocation `began` (s) when this was the true record of the primary."""
        now = self._world.now
        kind = re.sub(r":[^:]*$", "", subject)
        self._heard.append((now, region, subject))
        if (kind in _OF_PROMOTION and kind not in self._held_at_claim and self._is_candidate(region, record)
                and self._checker.disturbed_until(region) < began):
            self._checker.wrong(f"{subject} is told of the promotion's own work")
        about = kind.removeprefix("Recovered: ")
        condition = self._conditions.get((region, about))
        if condition is None:
            return
        self._judge(region, about, _holding(self._world.servers.servers[region])[about], now)
        if about != kind:
            if condition.holds and now - condition.due_since > _NEWS_SECONDS:
                self._checker.wrong(f"{subject} in {region}, which holds for {now - condition.due_since:.0f} s")
            condition.believed, condition.over_at = False, now
            return
        # What an unheard notice was about is told until it was heard, or until a run has seen that it is over.
        is_known = self._seen.get((region, _TELLS[kind]), 0) > condition.last_held
        if not condition.holds and is_known and now - condition.last_held > _NEWS_SECONDS:
            self._checker.wrong(f"{subject} in {region}, which has not held for {now - condition.last_held:.0f} s")
        # A run that is disturbed right after it has told may not know that it has.
        told_at = condition.told_at
        is_sure = not self._checker.is_disturbed_between(region, told_at, told_at + _SETTLED_SECONDS)
        if condition.believed and is_sure and now - condition.told_at < _REPEAT_SECONDS:
            self._checker.wrong(f"{subject} in {region} is told twice within {now - condition.told_at:.0f} s")
        condition.believed, condition.told_at = True, now

    # What is not told.

    def judge(self) -> None:
        """The outages and ends of outages that are not told, and the unreadable items that nobody hears of."""
        for region, server in self._world.servers.servers.items():
            calm = self._checker.disturbed_until(region)
            for kind, holds in _holding(server).items():
                self._judge(region, kind, holds, calm)
        for noted in [one for one in self._unreadable if self._world.now - one[0] > _TOLD_SECONDS + 60]:
            self._unreadable.remove(noted)
            at, region, subject = noted
            # What was told as over in the last minutes is not told again at once, and then it is over again.
            over = f"Recovered: {subject}"
            if self._checker.disturbed_until(region) < at + 61 and not any(
                    where == region and ((what == subject and when >= at) or (
                        what == over and when >= at - _QUIET_SECONDS)) for when, where, what in self._heard):
                self._checker.wrong(f"{subject} in {region} is never told")

    def _judge(self, region: str, kind: str, holds: bool | None, calm: float) -> None:
        self._track(region, kind, holds)
        if holds is None or self._is_excused(region, kind):
            return
        now, condition = self._world.now, self._conditions[region, kind]
        since = max(condition.due_since, calm)
        if holds and not condition.believed and now - since > _TOLD_SECONDS and (
                now - condition.over_at > _QUIET_SECONDS + _TOLD_SECONDS):
            self._checker.wrong(f"{kind} in {region} is not told for {now - since:.0f} s")
            condition.believed = True
        since = max(since, condition.told_at)
        if not holds and condition.believed and now - since > _TOLD_SECONDS:
            self._checker.wrong(f"the end of {kind} in {region} is not told for {now - since:.0f} s")
            condition.believed = False

    def _track(self, region: str, kind: str, holds: bool | None) -> None:
        now, condition = self._world.now, self._conditions[region, kind]
        if condition.holds or holds:
            condition.last_held = now
        if holds is not None and holds != condition.holds:
            condition.holds, condition.due_since = holds, now
        if holds is None or self._is_excused(region, kind):
            # What cannot be seen, or need not be told, may be told late once that has changed.
            condition.due_since = now

    def _is_excused(self, region: str, kind: str) -> bool:
        """Whether people need not hear of the threads of a server now. If they do hear of them it must be true."""
        record = self._checker.true_record
        if kind == "NotReplicating" and not self._world.servers.servers[region].read_only:
            # Then its writes are the worse news.
            return True
        return kind != "DatabaseUnreachable" and (record["region"] == region or (
            kind in _OF_PROMOTION and self._is_candidate(region, record)))

    def _is_candidate(self, region: str, record: Mapping[str, Any]) -> bool:
        """Whether the server of a region is becoming the primary, by a promotion that has not been left half done."""
        promotion = record["promotion"]
        return bool(promotion and promotion["to"] == region
                    and self._world.now - promotion["began"] <= _UNFINISHED_SECONDS)


def _holding(server: FakeServer) -> dict[str, bool | None]:
    """The truth about a server. `None` means that nobody can see it now."""
    if not server.answers:
        return {"DatabaseUnreachable": True, "IOThreadStopped": None, "SQLThreadStopped": None,
                "NotReplicating": None, "ReplicationBroken": None}
    replica = bool(server.source)
    broken = replica and ((server.sql == "stopped" and server.sql_errno in ABOUT_DATA) or (
        server.io == "stopped" and server.io_errno == SOURCE_LACKS))
    return {"DatabaseUnreachable": False, "IOThreadStopped": replica and server.io == "stopped",
            "SQLThreadStopped": replica and server.sql == "stopped", "NotReplicating": not replica,
            "ReplicationBroken": broken}
