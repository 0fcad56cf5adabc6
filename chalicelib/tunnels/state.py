"""The observation of a region's tunnels and their stored state, as values. Times are epoch seconds.

The local store keeps one `TunnelState` under `tunnels`/`state`, replaced by compare-and-set before anything is done.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from chalicelib.config.tunnels import Tunnels
from chalicelib.engine.limits import Backoff, Budget, Cooldown, Spent
from chalicelib.engine.schema import Schema, State, Stored, Unreadable
from chalicelib.tunnels.probe.result import FaultDomain, ProbeResult

KEY = ("tunnels", "state")
# In the local store, what came of each action by its key; in the shared store, each region's report on the primary.
EFFECTS_PK, PEER_REPORT_PK = "tunnel-actions", "tunnel-reports"

MemberPhase = Literal["joining", "healthy", "drained", "restarting", "verifying", "replacing", "quarantined"]
# Where no Auto Scaling group replaces an instance, `stop` stands for `replace`, and `start` ends it. `repoint` connects
# a tunnel to where the primary is now. `quarantine` changes nothing but the state.
Kind = Literal["drain", "undrain", "restart", "replace", "stop", "start", "repoint", "quarantine"]

# A restart may take so long and has so long to show; an instance so long to come, and as long again to answer. Each
# repair is tried so often.
RESTART_TIMEOUT_SECONDS, VERIFY_TIMEOUT_SECONDS, REPLACEMENT_TIMEOUT_SECONDS, ATTEMPTS_MAX = 40, 30, 300, 2
REPAIRS = Budget(4, 600)
REPLACEMENTS = Budget(3, 3600)
# After an incident its member is not repaired again for so long, twice as long each time, until it was healthy so long.
COOLDOWN = Backoff(min_seconds=60, max_seconds=1800, reset_after_seconds=1800)
# A failure of several at once is waited out once, for so long.
CORRELATED_FAILURE_HOLD_SECONDS = 60
# A member out of service so long is told; so is, sooner, that nothing is up and no peer reports the primary up.
OUT_OF_SERVICE_ALERT_SECONDS, ALL_DOWN_ALERT_SECONDS = 900, 45
# Hosts that are not connected to where the primary is within so long are told about.
WRONG_PRIMARY_ALERT_SECONDS = 120
# The word of a probe that was never made, for want of time or sockets on our side: it speaks of nothing but us.
NOT_PROBED = "not-probed"
# Each region's controller reports on the primary at least every so often, by a clock that may be off by so much.
PEER_REPORT_SECONDS, CLOCK_SKEW_SECONDS = 30, 2
# The balancer is asked again for what it does not show yet after so long.
RETRY_SECONDS = 10
# How often it is read where the primary is, and which regions are fenced.
PRIMARY_REFRESH_SECONDS = 30


class Endpoint(msgspec.Struct, frozen=True):
    """An instance that holds a tunnel. `target` is what the balancer's target group says of it.

    One that is `registered` gets connections. One that is `waiting` is in the group as well and gets none, for its
    first checks have not ended or fail. A Network Load Balancer takes minutes for the first ones.
    """

    id: str
    address: str
    state: Literal["pending", "running", "stopping", "stopped", "shutting-down", "terminated"] = "running"
    target: Literal["registered", "waiting", "draining", "absent"] = "registered"


class PeerReport(State, frozen=True):
    """The last report of another region's controller at `at`. It has whether the primary answers, and the region of its
    primary (empty is that of fleet.toml)."""

    up: bool
    at: float
    primary_region: str = ""


PEER_REPORT = Schema(PeerReport, 1)


class ProbeStreak(State, frozen=True):
    """Equal probes in a row. The first was at `since`, the last at `at`, with its side and reason."""

    up: bool
    count: int
    since: float
    at: float
    side: FaultDomain
    why: str = ""


class Member(State, frozen=True):
    """A place that one instance fills, and its phase since `since`.

    It has been out of service since `out_of_service_since` (0 is in service). An `incident` is one such time, in which
    actions are numbered by `action_number`. `last_action` is the key of the last one. The balancer or EC2 was last
    asked to change it at `target_change_requested_at`. `connected_region` is the target of its host's tunnel, as the
    host last said (empty is never). Since `wrong_primary_since` that is not the primary's region (0 if it is). The host
    got `repoint_attempts` repoints in a row, the last at `repoint_sent_at`.
    """

    name: str
    instance: str = ""
    phase: MemberPhase = "joining"
    since: float = 0
    streak: ProbeStreak | None = None
    out_of_service_since: float = 0
    incident: int = 0
    action_number: int = 0
    last_action: str = ""
    restart_count: int = 0
    replacement_count: int = 0
    cooldown: Cooldown = Cooldown()
    target_change_requested_at: float = 0
    repair_started_at: float = 0
    drained_manually: bool = False
    connected_region: str = ""
    wrong_primary_since: float = 0
    repoint_sent_at: float = 0
    repoint_attempts: int = 0


class TunnelState(State, frozen=True):
    """All that a round leaves for the next. It was decided `at`.

    `repairs` and `replacements` are what is spent of the budgets. Since `all_down_since` nothing is up (0 if something
    is). Since `correlated_failure_since` a failure of several delays repairs. `last_report` is what this region last
    reported to the others. `fenced_primary` is the primary's region if a promotion has closed it, as it was read at
    `primary_read_at`. `primary_region` is where the tunnels have to go, by the record of the primary at
    `primary_position` (its term and version). Records before that are of a restored table. While nothing is up, a peer
    has reported the primary up ever since `primary_reported_up_since` (0 without one).
    """

    at: float = 0
    members: tuple[Member, ...] = ()
    repairs: Spent = ()
    replacements: Spent = ()
    all_down_since: float = 0
    correlated_failure_since: float = 0
    last_report: PeerReport | None = None
    fenced_primary: str = ""
    primary_read_at: float = 0
    primary_reported_up_since: float = 0
    primary_region: str = ""
    primary_position: tuple[int, int] = (0, 0)


SCHEMA = Schema(TunnelState, 2)

# What came of an action, as far as it is known.
Outcome = Literal["done", "failed"]


class TunnelObservation(msgspec.Struct, frozen=True):
    """The observation of a round, with the group's `endpoints` and the last probe's result of each, both by instance
    id.

    `outcomes` is what came of the restarts under way, by key. One that still runs is not in it. `unobservable` says
    what AWS would not show, each with its remedy. `unreadable` are the items that cannot be read. `fenced_primary`,
    `primary_read_at`, `primary_region` and `primary_position` are as in the state, which has them unless it was time to
    read them again.
    """

    region: str
    settings: Tunnels
    endpoints: Mapping[str, Endpoint] = {}
    probes: Mapping[str, ProbeResult] = {}
    peer_reports: tuple[PeerReport, ...] = ()
    outcomes: Mapping[str, Outcome] = {}
    unobservable: tuple[str, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    fenced_primary: str = ""
    primary_read_at: float = 0
    primary_region: str = ""
    primary_position: tuple[int, int] = (0, 0)


class Observed(msgspec.Struct, frozen=True):
    """The state as it was read (or why it cannot be), what a round sees, and when."""

    stored: Stored[TunnelState] | Unreadable
    seen: TunnelObservation
    now: float


class RepairAction(msgspec.Struct, frozen=True):
    """One action on one instance, told apart from every other by its key.

    `primary_region` is where `repoint` connects it.
    """

    kind: Kind
    member: str
    instance: str
    incident: int
    action_number: int
    reason: str
    primary_region: str = ""

    @property
    def key(self) -> str:
        """`member/instance/incident/number/kind`."""
        return f"{self.member}/{self.instance}/{self.incident}/{self.action_number}/{self.kind}"


class ManualRequest(msgspec.Struct, frozen=True):
    """A manual request, with the kind of action (`None` means only the state), and that action's key."""

    ask: Literal["drain", "undrain", "replace"]
    instance: str
    kind: Kind | None = None
    key: str = ""


def extended(streak: ProbeStreak | None, result: ProbeResult, max_age_seconds: int) -> ProbeStreak:
    """The streak after one more result. A result that came before counts once. A gap begins a new streak."""
    up = result.side == "up"
    if streak is None or streak.up is not up or result.at - streak.at > max_age_seconds:
        if streak is None or result.at > streak.at:
            return ProbeStreak(up, 1, result.at, result.at, result.side, result.why)
        return streak
    if result.at <= streak.at:
        return streak
    return ProbeStreak(up, streak.count + 1, streak.since, result.at, result.side, result.why)
