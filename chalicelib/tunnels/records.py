"""What is seen of a region's tunnels and what is remembered of them, as values. Times are epoch seconds.

The regional table keeps one `Memory` under `tunnels`/`memory`, replaced by compare-and-set before anything is done.
"""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from chalicelib.tunnels.declared import Tunnels
from chalicelib.tunnels.verdict import Side, Verdict

KEY = ("tunnels", "memory")
# Acts, by their key; and, in the coordination table, what each region's healer knows of the far side.
CLAIMS, FAR = "tunnels-acts", "far"

Phase = Literal["joining", "healthy", "drained", "restarting", "verifying", "replacing", "quarantined"]
# Where no Auto Scaling group replaces an instance, `stop` stands for `replace`, and `start` ends it. `point` leads a
# tunnel to where the master is now. `quarantine` is done to nothing but the memory.
Kind = Literal["drain", "undrain", "restart", "replace", "stop", "start", "point", "quarantine"]

# The ladder (seconds): a restart may take so long and has so long to show; an instance so long to come, and as long
# again to answer. Each rung is tried twice.
RESTART, VERIFY, REPLACE, TRIES = 40, 30, 300, 2
# At most so many heals within so long, and of them so many replacements within so long.
HEALS_MOST, HEALS_WINDOW = 4, 600
REPLACEMENTS_MOST, REPLACEMENTS_WINDOW = 3, 3600
# After an episode its slot is not healed again for so long, twice as long each time, until it was healthy so long.
COOL_FIRST, COOL_MOST, COOL_FORGOTTEN = 60, 1800, 1800
# A failure of several at once is waited out once, for so long.
HOLD = 60
# A slot out of service so long is told; so is, sooner, that nothing is up and no canary lives.
OUT_TOLD, DARK_TOLD, TOLD_AGAIN = 900, 45, 600
# Hosts that are not led to where the master is within so long are told about.
ASTRAY_TOLD = 120
# What a probe says that was never made, for want of time or sockets on our side: it speaks of nothing but us.
UNSAID = "not-probed"
# Each region's healer writes what it knows of the far side at least every so often, by a clock that may be off.
CANARY_EVERY, SKEW = 30, 2
# The balancer is asked again for what it does not show yet, and people are told again of what may not have reached
# them, after so long.
ASK_AGAIN = 10
# How often it is asked who the master is, and which regions are fenced (s).
FENCE_EVERY = 30


class Endpoint(msgspec.Struct, frozen=True):
    """An instance that holds a tunnel. `target` is what the balancer's target group says of it."""

    id: str
    address: str
    state: Literal["pending", "running", "stopping", "stopped", "shutting-down", "terminated"] = "running"
    target: Literal["registered", "draining", "absent"] = "registered"


class Canary(msgspec.Struct, frozen=True):
    """What another region's healer last knew: whether the far side answers it, when it was told so, and which region's
    master the far side is to it (empty: that of fleet.toml)."""

    up: bool
    at: float
    lead: str = ""


class Streak(msgspec.Struct, frozen=True):
    """Equal probes in a row, of which the first was at `since` and the last, with its side and reason, at `at`."""

    up: bool
    count: int
    since: float
    at: float
    side: Side
    why: str = ""


class Slot(msgspec.Struct, frozen=True):
    """A place that one instance fills, and where it stands in the ladder since `since`.

    `out` is since when it has been out of service (0: in service); an `episode` is one such time, in which acts are
    numbered by `seq`. `cool` is the last cool-down (s), in force until `cooled`. `asked` is when the balancer, or EC2,
    was last asked to take it out or in, `healed` when the last heal began. `command` is the key of the restart under
    way. `kept` is out by hand. `leads` is the region that its host leads to, as it last said (empty: never). `strayed`
    is since when that is not where the master is (0: it is); it was told to lead there `turns` times in a row, last
    when it was `pointed`.
    """

    name: str
    instance: str = ""
    phase: Phase = "joining"
    since: float = 0
    streak: Streak | None = None
    out: float = 0
    episode: int = 0
    seq: int = 0
    restarts: int = 0
    replaced: int = 0
    cool: int = 0
    cooled: float = 0
    asked: float = 0
    healed: float = 0
    command: str = ""
    kept: bool = False
    leads: str = ""
    strayed: float = 0
    pointed: float = 0
    turns: int = 0


class Told(msgspec.Struct, frozen=True):
    """When people were told, and whether it is known that it went out."""

    at: float
    sure: bool = False


class Memory(msgspec.Struct, frozen=True):
    """All that a round leaves for the next. `heals` and `replacements` are when they were decided.

    `dark` is since when nothing is up (0: something is), `held` since when a failure of several is waited out.
    `far` is what this region last told the others. `fenced` is the region of the master if a promotion has closed it,
    as the coordination table said when it was `asked` last. `vouched` is when, while nothing is up, a canary first said
    that the far side lives, and has been heard to say so ever since (0: none has). `lead` is the region whose master
    the tunnels are to lead to.
    """

    turn: str = ""
    at: float = 0
    slots: tuple[Slot, ...] = ()
    heals: tuple[float, ...] = ()
    replacements: tuple[float, ...] = ()
    dark: float = 0
    held: float = 0
    told: dict[str, Told] = {}
    far: Canary | None = None
    fenced: str = ""
    asked: float = 0
    vouched: float = 0
    lead: str = ""


Command = Literal["done", "failed"]


class Seen(msgspec.Struct, frozen=True):
    """What a round sees at `at`: the group's `endpoints` by id, the last verdict of each, other regions' canaries.

    `commands` is what became of the restarts under way, by key; one that still runs is not in it. `rev` is the
    memory's in the table, 0 if there is none. `blind` says what AWS would not show, each with its remedy. `fenced`,
    `asked` and `lead` are as in the memory, which has them unless it was time to ask anew.
    """

    region: str
    settings: Tunnels
    memory: Memory
    endpoints: Mapping[str, Endpoint]
    verdicts: Mapping[str, Verdict]
    at: float
    canaries: tuple[Canary, ...] = ()
    commands: Mapping[str, Command] = {}
    rev: int = 0
    blind: tuple[str, ...] = ()
    fenced: str = ""
    asked: float = 0
    lead: str = ""


class Act(msgspec.Struct, frozen=True):
    """One thing to do to one instance, told apart from every other by its key; decided on what was seen at `at`.

    `to` is the region that `point` leads it to.
    """

    kind: Kind
    slot: str
    instance: str
    episode: int
    seq: int
    at: float
    reason: str
    to: str = ""

    @property
    def key(self) -> str:
        """`slot/instance/episode/seq/kind`."""
        return f"{self.slot}/{self.instance}/{self.episode}/{self.seq}/{self.kind}"


class Page(msgspec.Struct, frozen=True):
    """What people must know."""

    kind: str
    name: str
    text: str

    @property
    def key(self) -> str:
        """Under which the memory has it that they were told."""
        return f"{self.kind}/{self.name}"


def body(memory: Memory) -> dict[str, Any]:
    """The item body that `read` turns back into the value."""
    plain: dict[str, Any] = msgspec.to_builtins(memory)
    return plain


def read(plain: Mapping[str, Any]) -> Memory:
    """The memory that an item's body holds."""
    return msgspec.convert(plain, Memory)


def counted(streak: Streak | None, verdict: Verdict, stale: int) -> Streak:
    """The streak after one more verdict. A verdict that came before counts once; a gap begins a new streak."""
    up = verdict.side == "up"
    if streak is None or streak.up is not up or verdict.at - streak.at > stale:
        if streak is None or verdict.at > streak.at:
            return Streak(up, 1, verdict.at, verdict.at, verdict.side, verdict.why)
        return streak
    if verdict.at <= streak.at:
        return streak
    return Streak(up, streak.count + 1, streak.since, verdict.at, verdict.side, verdict.why)
