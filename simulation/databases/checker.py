"""The forbidden events of a fleet of databases, whatever happens to its servers, networks, tables and Lambdas.

The checker shares no code with the product. It sees the true servers, every request at the moment when a server gets
it, every item that is written, as JSON, and every notice. A run acts on what it has read. So an action counts as harm
only if the reason was there before its invocation began.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from chalicelib.aws.store import Item
from simulation.databases.notices import ABOUT_DATA, SOURCE_LACKS, NoticeChecker
from testing.databases import Change, FakeServer, Row

if TYPE_CHECKING:
    from simulation.databases.world import Invocation, World

_PRIMARY_KEY = ("primary", "current")
# A server that must not take writes is closed after so long, and a thread that may be started is.
_FENCED_SECONDS, _LEFT_ALONE_SECONDS = 200, 2000
_RESTARTS, _WINDOW, _PAUSE = 4, 600, 60
# A Lambda that runs each minute looks at its server at least so often, unless its region is disturbed. After its clock
# was wrong it has so long until its books are right.
_DEAF_SECONDS, _ADJUSTED_SECONDS = 300, 190


class SimulationResult(msgspec.Struct, frozen=True):
    """The results of one timeline. `harm` must be empty. `rows` is how many rows were confirmed to applications."""

    seed: int
    harm: tuple[str, ...]
    actions: dict[str, int]
    alerts: dict[str, int]
    crashes: int
    runs: int
    faults: int
    promoted: int
    rows: int


class Checker:
    """Counts, and writes down all harm."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.harm: list[str] = []
        self.actions: Counter[str] = Counter()
        self.alerts: Counter[str] = Counter()
        self.promoted = self.rows = 0
        # The good versions of the primary's record, oldest first. The last one is true whatever the table says.
        self.records = [Item(*_PRIMARY_KEY, 0, {
            "schema": 1, "run_id": "", "region": world.regions[0], "term": 0, "fenced": (), "promotion": None})]
        self._confused_until = 0.0
        self._disturbed: dict[str, float] = {}
        # When disturbances of a region began and end.
        self._disturbances: dict[str, list[tuple[float, float]]] = {region: [] for region in world.regions}
        self._acknowledged: dict[int, int] = {}
        # Servers that take writes though they must not, each with the seconds that its watch could have closed it.
        self._loose: dict[str, float] = {}
        self._starts: dict[str, list[int]] = {region: [] for region in world.regions}
        self._standing: Counter[str] = Counter()
        # When the Lambdas that run each minute last asked a server of theirs for something.
        self._asked = {(region, operation): world.now for region in world.regions for operation in ("watch", "heal")}
        self._request: tuple[Invocation, FakeServer] | None = None
        self.notices = NoticeChecker(self)
        self.looked_for: str | None = None
        self._began: dict[Invocation, tuple[float, int, int, Mapping[str, Any]]] = {}
        # How many records there were when an invocation began.
        self._records_before: dict[Invocation, int] = {}

    def wrong(self, what: str) -> None:
        """Harm was done. The timeline ends with it if it is the one that is looked for."""
        if len(self.harm) < 20:
            self.harm.append(f"{self.world.now - 1_774_699_200:.1f}: {what}")
            if self.looked_for is not None and self.looked_for in what:
                self.world.scheduler.stop()

    @property
    def true_record(self) -> Mapping[str, Any]:
        """The primary, whatever the table says."""
        return self.records[-1].body

    @property
    def is_confused(self) -> bool:
        """Whether the primary's record in the table is not the true one."""
        return self.world.now < self._confused_until

    # What people and faults do.

    def down(self, server: FakeServer) -> None:
        """A server gives no answers from now on."""
        self.notices.unanswered(server.region)

    def up(self, server: FakeServer) -> None:
        """A server gives answers again. From now on its watch judges whether it may take writes."""
        # What changes now is asked by nobody.
        self._request = None
        if not server.configured and server.region != self.true_record["region"]:
            self._loose.setdefault(server.region, 0)
        if not server.configured and self.true_record["promotion"]:
            self._loose.setdefault(server.region, 0)

    def forced(self, to: str) -> None:
        """Somebody accepts that rows are lost."""
        self.actions["force"] += 1

    def unanswered(self, invocation: "Invocation", server: FakeServer) -> None:
        """A server has given an invocation no answer."""
        if server.region == invocation.region:
            self.notices.unanswered(server.region)

    def missed(self, region: str) -> None:
        """A minute's event does not come."""
        self.disturbed(region, 60)

    def disturbed(self, region: str, seconds: float) -> None:
        """The Lambdas of a region cannot do all of their work for so long."""
        self._disturbed[region] = max(self._disturbed.get(region, 0), self.world.now + seconds)
        self._disturbances[region].append((self.world.now, self.world.now + seconds))

    def disturbed_until(self, region: str) -> float:
        """The end of what disturbs, or has disturbed, the Lambdas of a region."""
        return self._disturbed.get(region, 0)

    def is_disturbed_between(self, region: str, begin: float, end: float) -> bool:
        """Whether the Lambdas of a region could not do all of their work at any time between these."""
        return any(since <= end and until >= begin for since, until in self._disturbances[region])

    def forgot(self, region: str, seconds: float, key: tuple[str, str]) -> None:
        """An item is no longer what the product wrote. It stays so for `seconds`, or until the product replaces it."""
        now = self.world.now
        if key == _PRIMARY_KEY:
            self._confused_until = max(self._confused_until, now + seconds)
            for each in self.world.regions:
                self.disturbed(each, seconds)
        elif region:
            self.disturbed(region, 60)
            if key[1] == "heal":
                self._starts[region] = []
            self.notices.forgot(region, key)

    # What the product asks for.

    def began(self, invocation: "Invocation") -> None:
        """An invocation begins."""
        server = self.world.servers.servers[invocation.region]
        self._began[invocation] = (self.world.now, server.sql_errno, server.io_errno, self.true_record)
        self._records_before[invocation] = len(self.records)

    def ended(self, invocation: "Invocation", failure: BaseException | None, status: str) -> None:
        """An invocation has ended with this status of its answer, or has failed."""
        self._began.pop(invocation, None)
        if failure:
            self.disturbed(invocation.region, 62)
        elif status == "done" and invocation.looked_at and not invocation.has_lost_answers:
            self.notices.ended(invocation.region, invocation.operation, invocation.looked_at)

    def asked(self, invocation: "Invocation") -> None:
        """An invocation asks a server for something, whatever comes of it."""
        if invocation.strange:
            self.wrong(f"{invocation.operation} in {invocation.region} believes an event of another year")
        if invocation.operation in ("watch", "heal"):
            self._asked[invocation.region, invocation.operation] = self.world.now

    def wrong_clock(self, region: str, seconds: float) -> None:
        """The clocks of a region's Lambdas are an hour wrong for so long. Their books are of another hour then."""
        self._starts[region] = []
        self.disturbed(region, seconds + _ADJUSTED_SECONDS)

    def right_clock(self, region: str) -> None:
        """They are right again."""
        self._starts[region] = []

    def requested(self, invocation: "Invocation", server: FakeServer, name: str, arguments: tuple[Any, ...]) -> None:
        """A server gets a request that is to change something."""
        self._request = (invocation, server)
        if name == "read_status":
            self.notices.shown(server)
            invocation.looked_at = self.world.now
            return
        self.actions[f"{invocation.operation} {name}"] += 1
        if invocation.operation == "heal":
            self._healed(invocation, server, name)
        elif invocation.operation == "watch" and name == "set_read_only":
            self._fenced(invocation, server)
        elif invocation.operation == "status":
            self.wrong(f"status changes something: {name} of {server.region}")
        if name == "write_heartbeat" and server.source:
            self.wrong(f"heartbeat on the replica {server.region}")

    def _healed(self, invocation: "Invocation", server: FakeServer, name: str) -> None:
        began, sql_errno, io_errno, record = self._began[invocation]
        who = f"{name} of {server.region}"
        if name not in ("start", "change_source"):
            self.wrong(f"heal does {who}")
        if server.sql_errno == sql_errno and sql_errno in ABOUT_DATA and name == "start":
            self.wrong(f"{who} though its event would fail again ({sql_errno})")
        if io_errno == server.io_errno == SOURCE_LACKS:
            self.wrong(f"{who} though its source has not what it needs")
        if record is self.true_record:
            if record["promotion"]:
                self.wrong(f"{who} during a promotion of {record['promotion']['to']}")
            if server.region in record["fenced"]:
                self.wrong(f"{who}, which is fenced")
            if server.region == record["region"]:
                self.wrong(f"{who}, which is the primary")
        if self._is_tunnelled(server.region) and self.world.has_no_tunnel(server.region, began):
            self.wrong(f"{who} without a tunnel")
        # A run counts in minutes. Which one it is in it sees at some time between its begin and its look.
        begun, looked = (_counted_at(invocation.minute, at + invocation.skew) for at in (began, invocation.looked_at))
        starts = self._starts[server.region]
        if starts and looked - starts[-1] < _PAUSE:
            self.wrong(f"{who} {looked - starts[-1]} s after the last one")
        starts.append(begun)
        if sum(looked - when < _WINDOW for when in starts) > _RESTARTS:
            self.wrong(f"{who} is more than {_RESTARTS} within {_WINDOW} s")

    def _is_tunnelled(self, region: str) -> bool:
        return self.world.scenario.tunnelled and region != self.world.regions[0]

    def _fenced(self, invocation: "Invocation", server: FakeServer) -> None:
        record = self._began[invocation][3]
        if record is self.true_record and self._may_write(server.region):
            self.wrong(f"watch closes the primary {server.region}")

    def _may_write(self, region: str) -> bool:
        return bool(region == self.true_record["region"]) and region not in self.true_record["fenced"]

    # What happens to the servers.

    def changed(self, server: FakeServer, change: Change, lost: Sequence[Row]) -> None:
        """A server has changed. `lost` are rows of its relay log that are gone."""
        invocation = self._request[0] if self._request and self._request[1] is server else None
        self._request = None
        if lost:
            self._relay_lost(server, change, lost)
        if change == "read-only":
            self._loose.pop(server.region, None)
        elif change == "writable" and invocation:
            self._opened(server, invocation)

    def _relay_lost(self, server: FakeServer, change: Change, lost: Sequence[Row]) -> None:
        promotion = self.true_record["promotion"] or {}
        if promotion.get("forced"):
            return
        others = [one for one in self.world.servers.servers.values()
                  if one is not server and self.notices.answered_lately(one)]
        gone = [row for row in lost if row.number <= self._acknowledged.get(row.server, 0)
                and not any(one.has(row) for one in others)]
        if gone:
            self.wrong(f"{len(gone)} received rows of {server.region} are thrown away ({change})")

    def _opened(self, server: FakeServer, invocation: "Invocation") -> None:
        record = self.true_record
        promotion = record["promotion"] or {}
        others = [one for one in self.world.servers.servers.values()
                  if one is not server and one.alive and not one.read_only]
        known = [item.body for item in self.records[self._records_before[invocation] - 1:]]
        if invocation.operation != "promote":
            # It closed the server, and has read that this was wrong.
            if not any(body["region"] == server.region and server.region not in body["fenced"] for body in known):
                self.wrong(f"{invocation.operation} opens {server.region}, which is not the primary")
            elif not self._may_write(server.region):
                self._loose.setdefault(server.region, 0)
            return
        if not any(body["promotion"] and body["promotion"]["to"] == server.region for body in known):
            self.wrong(f"{server.region} is opened without a promotion")
        if promotion.get("to") != server.region or record["region"] != server.region:
            # Another promotion was claimed in that very moment: it is closed again at once, or by its watch.
            self._loose.setdefault(server.region, 0)
            return
        for one in others:
            if promotion.get("forced"):
                self._loose.setdefault(one.region, 0)
            elif one.region not in self._loose:
                self.wrong(f"two primaries: {server.region} is opened while {one.region} takes writes")
        for number, last in self._acknowledged.items():
            has = server.last_of(number)
            if has < last:
                if not promotion.get("forced"):
                    self.wrong(f"lost: {server.region} is opened without {last - has} confirmed rows of server "
                               f"{number}")
                self._acknowledged[number] = has

    def acknowledged(self, server: FakeServer, row: Row) -> None:
        """An application was told that its row is there for good."""
        if server.region == self.true_record["region"] and server.region not in self._loose:
            self.rows += 1
            self._acknowledged[server.number] = row.number

    # What is written and told.

    def written(self, item: Item, replaced: Item | None) -> None:
        """The product has written an item in the place of another one."""
        if (item.pk, item.sk) != _PRIMARY_KEY:
            return
        before, body = self.true_record, item.body
        if (replaced.body if replaced else self.records[0].body) != before and not (
                body["promotion"] and body["promotion"]["forced"]):
            self.wrong(f"term {body['term']} is written over a record that is not the last one")
        if body["term"] < before["term"]:
            self.wrong(f"term {before['term']} is followed by {body['term']}")
        if body["promotion"] and body["term"] != before["term"]:
            self.notices.claimed(body["promotion"]["to"])
        if before["promotion"] and not body["promotion"]:
            self.promoted += 1
            if self.world.servers.servers[body["region"]].read_only and body["region"] not in body["fenced"]:
                self.actions["finished read-only"] += 1
        self.records.append(item)
        self._confused_until = 0.0

    def told(self, region: str, subject: str) -> None:
        """A notice reaches people."""
        self.alerts[re.sub(r":[^:]*$", "", subject)] += 1
        began, _, _, record = self._began[self.world.invocation]
        self.notices.told(region, subject, began, record)

    # What holds.

    def judge(self) -> None:
        """The outages that are not told, servers that stay open or are left alone, items that nobody hears of."""
        self.notices.judge()
        for (region, operation), at in self._asked.items():
            if self.world.now - max(at, self.disturbed_until(region)) > _DEAF_SECONDS:
                self.wrong(f"{operation} in {region} is deaf")
                self._asked[region, operation] = self.world.now
        for region, server in self.world.servers.servers.items():
            is_calm = self.world.now > self.disturbed_until(region)
            self._judge_loose(region, server, is_calm)
            self._judge_standing(region, server, is_calm)

    def _judge_loose(self, region: str, server: FakeServer, is_calm: bool) -> None:
        if region not in self._loose:
            return
        if server.read_only or self._may_write(region):
            del self._loose[region]
        elif not server.answers or not is_calm or self.true_record["term"] == 0:
            self._loose[region] = 0
        else:
            self._loose[region] += 2
            if self._loose[region] > _FENCED_SECONDS:
                self.wrong(f"two primaries: {region} takes writes and is not closed")
                del self._loose[region]

    def _judge_standing(self, region: str, server: FakeServer, is_calm: bool) -> None:
        """A thread that may be started is started, once the waits are over."""
        record = self.true_record
        source = self.world.servers.at_host(server.source) if server.source else None
        startable = (
            source and server.answers and source.answers and is_calm and not record["promotion"]
            and region not in record["fenced"] and region != record["region"] and source.source == ""
            and server.io_errno != SOURCE_LACKS and server.sql_errno not in ABOUT_DATA and not server.poison
            and "stopped" in (server.io, server.sql)
            and not (self._is_tunnelled(region) and self.world.has_no_tunnel(region, self.world.now)))
        self._standing[region] = self._standing[region] + 2 if startable else 0
        if self._standing[region] > _LEFT_ALONE_SECONDS:
            self.wrong(f"replication of {region} is left alone")
            self._standing[region] = 0


def _counted_at(minute: int, clock: float) -> int:
    """The time of a run in its own books. That of an event up to two minutes old lies within the event's minute."""
    late = clock - minute
    return int(clock) // 60 * 60 if late >= 120 else minute + (59 if late >= 60 else 0)
