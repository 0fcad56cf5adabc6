"""When EventBridge starts a Lambda of a rule that fires each minute: anywhere within the minute, late, twice, or not.

A rule fires within its minute, not at its second (Amazon EventBridge User Guide, 'Creating a rule that runs on a
schedule': several seconds to a minute late, and now and then more than once).
"""

import itertools
from collections.abc import Sequence
from random import Random
from typing import Literal

import msgspec

MINUTE_SECONDS = 60.0


class TriggerModel(msgspec.Struct, frozen=True):
    """`offset` is the second within the minute (`uniform`: one for the whole timeline; `jumping`: another one each
    minute). The others are shares of triggers. `missed` says of how many that follow each other."""

    offset: float | Literal["uniform", "jumping"]
    late: float = 0.0
    missed: float = 0.0
    missed_in_a_row: int = 1
    doubled: float = 0.0

    def times(self, chance: Random, began: float, minutes: int) -> list[float]:
        """The triggers of so many minutes from `began` (epoch seconds) on, in order. The first is never missed."""
        fixed = chance.uniform(0, MINUTE_SECONDS) if self.offset == "uniform" else self.offset
        times: list[float] = []
        left_out = 0
        for number in range(minutes):
            left_out = left_out + 1 if number and (
                0 < left_out < self.missed_in_a_row or (chance.random() < self.missed and not left_out)) else 0
            if left_out:
                continue
            offset = chance.uniform(0, MINUTE_SECONDS) if fixed == "jumping" else float(fixed)
            late = chance.uniform(0, 30) if chance.random() < self.late else 0.0
            times.append(began + MINUTE_SECONDS * number + offset + late)
            if chance.random() < self.doubled:
                times.append(times[-1] + chance.choice((0.0, chance.uniform(0, 20))))
        return sorted(times)


# What each capability is held to. Two triggers in a row are missed at most.
MODELS = {
    **{f"at {second} s": TriggerModel(second) for second in (0, 8, 16, 41, 55)},
    "uniform": TriggerModel("uniform"),
    "jumping": TriggerModel("jumping"),
    "missed": TriggerModel("jumping", missed=0.1, missed_in_a_row=2),
    "doubled": TriggerModel("jumping", doubled=0.3),
    "all": TriggerModel("jumping", late=0.1, missed=0.05, missed_in_a_row=2, doubled=0.2),
}


class Watched(msgspec.Struct, frozen=True):
    """How well a controller watches: the share of the time, and the longest time (s) between two of its looks."""

    share: float
    longest_gap: float


def watched(looks: Sequence[float], until: float, round_seconds: float) -> Watched:
    """The result of these looks (epoch seconds, in order), from the first one until the end of all.

    A gap of more than a quarter beyond the length of a round is time in which nobody watches, all of it.
    """
    gaps = [later - earlier for earlier, later in itertools.pairwise((*looks, until))]
    unwatched = sum(gap for gap in gaps if gap > 1.25 * round_seconds)
    return Watched(1 - unwatched / (until - looks[0]), max(gaps))
