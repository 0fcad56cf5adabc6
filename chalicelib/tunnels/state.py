"""The observation of a region's tunnels and their stored state, as values. Times are epoch seconds.

The regional table keeps one `Memory` under `tunnels`/`memory`, replaced by compare-and-set before anything is done.
"""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from chalicelib.tunnels.config import Tunnels
from chalicelib.tunnels.probe.result import FaultDomain, ProbeResult

KEY = ("tunnels", "memory")
# Acts, by their key; and, in the coordination table, what each region's healer knows of the far side.
EFFECTS_PK, PEER_REPORT_PK = "tunnels-acts", "far"

MemberPhase = Literal["joining", "healthy", "drained", "restarting", "verifying", "replacing", "quarantined"]
# Where no Auto Scaling group replaces an instance, `stop` stands for `replace`, and `start` ends it. `point` leads a
# tunnel to where the master is now. `quarantine` is done to nothing but the memory.
Kind = Literal["drain", "undrain", "restart", "replace", "stop", "start", "repoint", "quarantine"]

# The ladder (seconds): a restart may take so long and has so long to show; an instance so long to come, and as long
# again to answer. Each rung is tried twice.
RESTART_TIMEOUT_SECONDS, VERIFY_TIMEOUT_SECONDS, REPLACEMENT_TIMEOUT_SECONDS, ATTEMPTS_MAX = 40, 30, 300, 2
# At most so many heals within so long, and of them so many replacements within so long.
REPAIRS_MAX, REPAIRS_WINDOW_SECONDS = 4, 600
REPLACEMENTS_MAX, REPLACEMENTS_WINDOW_SECONDS = 3, 3600
# After an episode its slot is not healed again for so long, twice as long each time, until it was healthy so long.
COOLDOWN_MIN_SECONDS, COOLDOWN_MAX_SECONDS, COOLDOWN_RESET_SECONDS = 60, 1800, 1800
# A failure of several at once is waited out once, for so long.
CORRELATED_FAILURE_HOLD_SECONDS = 60
# A slot out of service so long is told; so is, sooner, that nothing is up and no canary lives.
OUT_OF_SERVICE_ALERT_SECONDS, ALL_DOWN_ALERT_SECONDS, ALERT_REPEAT_SECONDS = 900, 45, 600
# Hosts that are not led to where the master is within so long are told about.
WRONG_PRIMARY_ALERT_SECONDS = 120
# What a probe says that was never made, for want of time or sockets on our side: it speaks of nothing but us.
NOT_PROBED = "not-probed"
# Each region's healer writes what it knows of the far side at least every so often, by a clock that may be off.
PEER_REPORT_SECONDS, CLOCK_SKEW_SECONDS = 30, 2
# The balancer is asked again for what it does not show yet, and people are told again of what may not have reached
# them, after so long.
RETRY_SECONDS = 10
# How often it is asked who the master is, and which regions are fenced (s).
PRIMARY_REFRESH_SECONDS = 30


class Endpoint(msgspec.Struct, frozen=True):
    """An instance that holds a tunnel. `target` is what the balancer's target group says of it."""

    id: str
    address: str
    state: Literal["pending", "running", "stopping", "stopped", "shutting-down", "terminated"] = "running"
    target: Literal["registered", "draining", "absent"] = "registered"


class PeerReport(msgspec.Struct, frozen=True):
    """The last report of another region's controller. It has whether the primary answers, the time, and the region of
    its primary (empty is that of fleet.toml)."""

    up: bool
    at: float
    primary_region: str = ""


class ProbeStreak(msgspec.Struct, frozen=True):
    """Equal probes in a row, of which the first was at `since` and the last, with its side and reason, at `at`."""

    up: bool
    count: int
    since: float
    at: float
    side: FaultDomain
    why: str = ""


class Member(msgspec.Struct, frozen=True):
    """A place that one instance fills, and where it stands in the ladder since `since`.

    `out` is the begin of its outage (0 is in service). An `episode` is one outage, in which `seq` numbers the actions.
    `cool` is the last cool-down (s), in force until `cooled`. `asked` is when the balancer, or EC2, was last asked to
    take it out or in, `healed` when the last heal began. `command` is the key of the restart under way. `kept` is out
    manually. `leads` is the region that its host last reported (empty is never). `strayed` is since when that is not
    the primary's region (0 if it is). It got `turns` repoints in a row, the last one at `pointed`.
    """

    name: str
    instance: str = ""
    phase: MemberPhase = "joining"
    since: float = 0
    streak: ProbeStreak | None = None
    out_of_service_since: float = 0
    incident: int = 0
    action_number: int = 0
    restart_count: int = 0
    replacement_count: int = 0
    cooldown_seconds: int = 0
    cooldown_until: float = 0
    target_change_requested_at: float = 0
    repair_started_at: float = 0
    command: str = ""
    drained_manually: bool = False
    connected_region: str = ""
    wrong_primary_since: float = 0
    repoint_sent_at: float = 0
    repoint_attempts: int = 0


class AlertDelivery(msgspec.Struct, frozen=True):
    """When people were told, and whether it is known that it went out."""

    at: float
    sure: bool = False


class TunnelState(msgspec.Struct, frozen=True):
    """The state that a run stores for the next. `heals` and `replacements` are when they were decided.

    `dark` is since when nothing is up (0 if something is), `held` since when a failure of several delays repairs. `far`
    is what this region last told the others. `fenced` is the region of the primary if a promotion has closed it, as the
    coordination table said when it was `asked` last. `vouched` is the time of the first peer report that the primary is
    up, in an unbroken series while nothing is up (0 without one). `lead` is the region whose primary the tunnels are to
    lead to.
    """

    run_id: str = ""
    at: float = 0
    slots: tuple[Member, ...] = ()
    repair_times: tuple[float, ...] = ()
    replacement_times: tuple[float, ...] = ()
    all_down_since: float = 0
    correlated_failure_since: float = 0
    alerts: dict[str, AlertDelivery] = {}
    last_report: PeerReport | None = None
    fenced_primary: str = ""
    primary_checked_at: float = 0
    primary_reported_up_since: float = 0
    primary_region: str = ""


Command = Literal["done", "failed"]


class TunnelObservation(msgspec.Struct, frozen=True):
    """The observation of a round at `at`, with the group's `endpoints` by id, the last result of each, and other
    regions' reports.

    `commands` is what became of the restarts under way, by key. One that still runs is not in it. `version` is the
    memory's in the table, 0 if there is none. `blind` says what AWS would not show, each with its remedy. `fenced`,
    `asked` and `lead` are as in the memory, which has them unless it was time to ask anew.
    """

    region: str
    settings: Tunnels
    memory: TunnelState
    endpoints: Mapping[str, Endpoint]
    verdicts: Mapping[str, ProbeResult]
    at: float
    peer_reports: tuple[PeerReport, ...] = ()
    commands: Mapping[str, Command] = {}
    version: int = 0
    unobservable: tuple[str, ...] = ()
    fenced_primary: str = ""
    primary_checked_at: float = 0
    primary_region: str = ""


class RepairAction(msgspec.Struct, frozen=True):
    """One thing to do to one instance, told apart from every other by its key. Decided on what was seen at `at`.

    `to` is the region that `point` leads it to.
    """

    kind: Kind
    slot: str
    instance: str
    incident: int
    action_number: int
    at: float
    reason: str
    to: str = ""

    @property
    def key(self) -> str:
        """`slot/instance/episode/seq/kind`."""
        return f"{self.slot}/{self.instance}/{self.incident}/{self.action_number}/{self.kind}"


class Alert(msgspec.Struct, frozen=True):
    """A notice to people."""

    kind: str
    name: str
    text: str

    @property
    def key(self) -> str:
        """Under which the memory has it that they were told."""
        return f"{self.kind}/{self.name}"


def body(memory: TunnelState) -> dict[str, Any]:
    """The item body that `read` turns back into the value."""
    plain: dict[str, Any] = msgspec.to_builtins(memory)
    return plain


def read(plain: Mapping[str, Any]) -> TunnelState:
    """The memory that an item's body holds."""
    return msgspec.convert(plain, TunnelState)


def counted(streak: ProbeStreak | None, verdict: ProbeResult, stale: int) -> ProbeStreak:
    """The streak after one more result. A result that came before counts once. A gap begins a new streak."""
    up = verdict.side == "up"
    if streak is None or streak.up is not up or verdict.at - streak.at > stale:
        if streak is None or verdict.at > streak.at:
            return ProbeStreak(up, 1, verdict.at, verdict.at, verdict.side, verdict.why)
        return streak
    if verdict.at <= streak.at:
        return streak
    return ProbeStreak(up, streak.count + 1, streak.since, verdict.at, verdict.side, verdict.why)
