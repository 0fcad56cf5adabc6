"""What goes into a simulation of schedules, and what comes out of it."""

import msgspec


class Chances(msgspec.Struct, frozen=True):
    """How often things go wrong: each a probability, except `skew` (seconds) and `outages` (per region and day)."""

    crash: float = 0.0005
    silence: float = 0.001
    tick_lost: float = 0.01
    tick_twice: float = 0.02
    tick_late: float = 0.05
    message_twice: float = 0.01
    outages: float = 4
    skew: float = 90


class Start(msgspec.Struct, frozen=True):
    """One time that a job's command was started: where, at which true time (s), for which minute."""

    region: str
    at: float
    minute: int


class Verdict(msgspec.Struct, frozen=True):
    """What a simulation found. `twice` to `idle` must be 0, and `slow` too where only regions fail.

    `idle` counts slots that made way for a run that was not going. `takeover` is the longest wait (s) beyond the
    patience of the region whose turn it was.
    """

    slots: int
    twice: int
    lost: int
    overlaps: int
    idle: int
    slow: int
    interrupted: int
    outages: int
    taken_over: int
    takeover: float
    crashes: dict[str, int]
