"""The input and the output of a simulation of schedules."""

import msgspec

from testing.triggers import TriggerModel


class Chances(msgspec.Struct, frozen=True):
    """The frequency of faults, each a probability, except `skew` (seconds) and `outages` (per region and day).

    `people` is the probability that a person acts on a job within a minute. `home_away` are the minutes, from the
    first, in which the home region is away for certain. `backup` are the minutes in which a backup of the coordination
    table is made, and restored. `wrong_clock` are the minutes in which a region's clock is an hour ahead or behind.
    `strange_event` is the probability that an event of another year comes within a minute.
    """

    crash: float = 0.0005
    silence: float = 0.001
    tick_lost: float = 0.01
    tick_twice: float = 0.02
    tick_late: float = 0.05
    message_twice: float = 0.01
    outages: float = 4
    skew: float = 90
    people: float = 0.05
    home_away: tuple[int, int] | None = None
    backup: tuple[int, int] | None = None
    wrong_clock: tuple[int, int] | None = None
    strange_event: float = 0

    @property
    def triggers(self) -> TriggerModel:
        """When the rules of the ticks fire. A late one may come after the next one."""
        return TriggerModel(late=self.tick_late, late_seconds=90, missed=self.tick_lost, doubled=self.tick_twice)


class Start(msgspec.Struct, frozen=True):
    """One start of a job's command, with its region, its true time (s), and its minute."""

    region: str
    at: float
    minute: int


class Verdict(msgspec.Struct, frozen=True):
    """The result of a simulation. `twice` to `silent` must be 0, and `slow` too where only regions fail.

    `idle` counts slots that made way for a run that was not going. `silent` counts runs that ended badly without an
    alert, and alerts that were not delivered. `believed` counts events of other years that were more than refused.
    `takeover` is the longest wait (s) beyond the patience of the region
    whose turn it was, or beyond the minute of home's rule.
    """

    slots: int
    twice: int
    lost: int
    overlaps: int
    idle: int
    silent: int
    slow: int
    interrupted: int
    outages: int
    taken_over: int
    takeover: float
    crashes: dict[str, int]
    believed: int = 0
