"""The checks of a simulated region, which are false changes, detection, gaps, and the time until checks leave a dead
host."""

import math
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from chalicelib.config.declared import HealthChecks
from simulation.health_checks.checkers import Checkers, settling_seconds

if TYPE_CHECKING:
    from simulation.health_checks.world import Plot


# So many seconds after its rule fires a turn looks. In a smooth world the rule always fires at the same second.
LATE = (0.5, 3.0)
# The longest that a terminated host's check stays with it: two minutes and what two turns may differ by. The requests
# of the second turn come on top, so many seconds each.
_TWO_TURNS = 120 + LATE[1] - LATE[0]
_REQUEST_SECONDS = 0.2
# After an outage, until every anchor has been read again, the others are not known to hold the verdict.
_DOUBT_SECONDS = 300
# A result is good enough for a report so long before the check has settled.
_TOLERANCE_SECONDS = 10


def longest_gap(settings: HealthChecks, hosts: int) -> int:
    """The longest time (s) that is promised for one of so many hosts without a result."""
    stops = math.ceil(max(0, hosts - settings.fixed_checks) / settings.rotating_checks)
    return stops * math.ceil(settling_seconds(settings) / 60) * 60 + settling_seconds(settings)


class Verdict(msgspec.Struct, frozen=True):
    """The results of a world. Times in seconds. `flips`, `missed`, `late`, `strangers` must be 0 everywhere.

    `flips` are false outages or recoveries of the status. `missed` are outages not detected in time. `late` are gaps
    and changes of target beyond their bounds, in smooth worlds. `gap` is the longest while there were no more than
    `hosts`. `gap_of_bound` is the longest at any time, as a share of the bound for the number of hosts (a minute more
    for each outage of the region meanwhile). `repointed` is the slowest re-pointing of a terminated host's check.
    `repointed_many` that when as many fixed checks as the threshold were terminated at once, or the region was down as
    a whole.
    """

    seed: int
    hours: float
    model: str
    interval: int
    hosts: int
    rough: bool
    flips: int
    missed: int
    late: int
    strangers: int
    outages: int
    swaps: int
    moves: int
    detection: float
    gap: float
    gap_of_bound: float
    repointed: float
    repointed_many: float
    drained: float
    calls: int
    deleted: int = 0


class Tally:
    """Listens to a world and keeps count."""

    def __init__(self, settings: HealthChecks, hosts: int, rough: bool, checkers: Checkers) -> None:
        self.settings, self.hosts, self.rough, self.checkers = settings, hosts, rough, checkers
        # Seconds: detection as promised, and after an outage the time that the checks need to see its end.
        self.allowed = settings.failures * settings.interval + 10
        self.recovery = (settings.failures + 1) * settings.interval + 10
        self.flips = self.missed = self.late = self.taken_in = self.outages = self.swaps = self.moves = self.calls = 0
        self.deleted = 0
        self.detection = self.gap = self.gap_of_bound = self.repointed = self.repointed_many = self.drained = 0.0
        self.threshold = self._next = settings.healthy_threshold
        self._since: float | None = None
        self._ended = self._hidden = -1e9
        self._up = self._best = True
        self._under: dict[int, tuple[str, float]] = {}
        self._requests: deque[tuple[float, int]] = deque()
        self._lately = 0
        self._gone: dict[str, tuple[float, int]] = {}
        self._leaving: dict[str, float] = {}
        self.fixed_checks: set[str] = set()
        self._last: dict[str, float] = {}
        self._peaks: deque[tuple[float, int]] = deque()
        self._ends: deque[float] = deque(maxlen=100)

    @property
    def standing(self) -> bool:
        """Whether the region has a result, and it is healthy."""
        return bool(self.checkers.lists) and self._up

    @property
    def recovering(self) -> bool:
        """Whether an outage has ended so lately that the checks need not have seen it."""
        return self.checkers.now < self._ended + self.recovery

    def judge(self, now: float) -> None:
        """Check the status after a change."""
        if not self.checkers.lists:
            return
        worst, best = self.checkers.verdict()
        if self._since is None and now >= self._ended + self.recovery:
            self.flips += self._up and not worst
            self._up = worst
        elif self._since is not None and self._best and not best:
            self._hidden = now
        self._best = best

    def fails(self, now: float) -> None:
        """A real outage begins."""
        self._since, self._hidden, self._best = now, -1.0, True
        self.outages += 1
        self._gone = {id: (when, max(many, self.threshold)) for id, (when, many) in self._gone.items()}

    def recovers(self, now: float) -> None:
        """At the end, whether it was detected, in time, and until now."""
        seen = self._hidden - (self._since or 0) if not self._best else 1e9
        self.detection = max(self.detection, seen)
        self.missed += seen > self.allowed
        self._since, self._ended, self._up = None, now, True
        self._ends.append(now)

    def leaves(self, id: str, now: float) -> None:
        """A host begins to drain."""
        if id in self.fixed_checks:
            self._leaving[id] = now

    def gone(self, id: str, now: float) -> None:
        """A host is terminated."""
        self._last.pop(id, None)
        if id in self._hosts_under():
            near = [other for other, (when, _) in self._gone.items() if other in self.fixed_checks and when > now - 120]
            many = len(near) + 1 if id in self.fixed_checks else 1
            if self._since is not None or now < self._ended + _DOUBT_SECONDS:
                many = max(many, self.threshold)
            self._gone |= {other: (self._gone[other][0], max(self._gone[other][1], many)) for other in near}
            self._gone[id] = (now, many)

    def pointed(self, number: int, host: str, now: float, requests: int) -> None:
        """A check has another target. The run has made so many `requests` by now."""
        self.moves += 1
        before, _ = self._under.get(number, ("", 0.0))
        self._under[number] = (host, now)
        if before in self._gone and before not in self._hosts_under():
            took, many = now - self._gone[before][0], self._gone.pop(before)[1]
            if many < self.threshold:
                self.repointed = max(self.repointed, took)
            self.repointed_many = max(self.repointed_many, took)
            bound = 120 if many < self.threshold else _TWO_TURNS + _REQUEST_SECONDS * requests
            self.late += not self.rough and took > bound

    def judged_by(self, fixed_checks: set[str], threshold: int, now: float) -> None:
        """The parent has other children."""
        self.swaps += 1
        # The lower of the two that may count.
        self.threshold = min(threshold, self._next)
        self._next = threshold
        for id in [id for id in self._leaving if id not in fixed_checks]:
            self.drained = max(self.drained, now - self._leaving.pop(id))
        self.fixed_checks = fixed_checks

    def requested(self, many: int, now: float) -> None:
        """Route 53 was asked for so many things."""
        self._requests.append((now, many))
        self._lately += many
        while self._requests[0][0] <= now - 3600 + 30:
            self._lately -= self._requests.popleft()[1]
        self.calls = max(self.calls, self._lately)

    def targets(self) -> dict[int, tuple[str, float]]:
        """The host that each check is to ask now, and since when."""
        return dict(self._under)

    def ran(self, hosts: Mapping[str, bool], targets: Mapping[int, tuple[str, float]], now: float) -> None:
        """A run has ended, which saw `hosts` (true: draining) and `targets`. Under a settled check lies a result."""
        self.taken_in += self.checkers.strangers(lambda address, token: token.startswith("i-"))
        eligible = {id for id, is_draining in hosts.items() if not is_draining}
        outside = eligible - self.fixed_checks
        # As many hosts as have no anchor, and what the fixed_checks would be if none were missing.
        many = max(len(eligible), len(outside) + self.settings.fixed_checks)
        while self._peaks and self._peaks[-1][1] <= many:
            self._peaks.pop()
        self._peaks.append((now, many))
        for id in hosts:
            if id in eligible:
                self._last.setdefault(id, now)
            else:
                self._last.pop(id, None)
        for id, since in targets.values():
            if id in self._last and now >= since + settling_seconds(self.settings) - _TOLERANCE_SECONDS:
                self._probed(id, now)

    def _hosts_under(self) -> set[str]:
        return {host for host, _ in self._under.values()}

    def _probed(self, id: str, now: float) -> None:
        gap, since = now - self._last[id], self._last[id]
        self._last[id] = now
        while len(self._peaks) > 1 and self._peaks[1][0] < now - 7200:
            self._peaks.popleft()
        if gap <= settling_seconds(self.settings) + 60:
            return
        hosts = max(hosts for when, hosts in self._peaks if when >= since - 60)
        bound = longest_gap(self.settings, hosts) + 60 * self._outages(since)
        if hosts <= self.hosts:
            self.gap = max(self.gap, gap)
        self.gap_of_bound = max(self.gap_of_bound, gap / bound)
        self.late += not self.rough and gap > bound

    def _outages(self, since: float) -> int:
        """The number of outages of the region since then, or just before. Each may keep a rotating check for a minute.
        """
        return sum(end > since - _DOUBT_SECONDS for end in self._ends) + (self._since is not None)

    def verdict(self, plot: "Plot") -> Verdict:
        """All figures."""
        return Verdict(
            plot.seed, plot.minutes / 60, plot.model, self.settings.interval, plot.hosts, plot.rough, self.flips,
            self.missed, self.late, self.taken_in, self.outages, self.swaps, self.moves, round(self.detection, 1),
            round(self.gap, 1), round(self.gap_of_bound, 3), round(self.repointed, 1),
            round(self.repointed_many, 1), round(self.drained, 1), self.calls, self.deleted)
