"""When EventBridge starts a Lambda of a rule: anywhere within the minute, late, twice, or not.

A rule fires within its minute, not at its second (Amazon EventBridge User Guide, 'Creating a rule that runs on a
schedule': several seconds to a minute late, and now and then more than once). The sandbox and all simulations fire
their rules by one of these models, and by `uniform` unless they are told otherwise.
"""

import itertools
from collections.abc import Sequence
from random import Random
from typing import Literal

import msgspec

MINUTE_SECONDS = 60.0


class TriggerModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`offset` is the second within the minute (`uniform`: one for each rule; `jumping`: another one each minute).

    `late`, `missed` and `doubled` are shares of triggers. A late one is up to `late_seconds` later. `missed_in_a_row`
    says how many missed ones follow each other.
    """

    offset: float | Literal["uniform", "jumping"] = "uniform"
    late: float = 0.0
    missed: float = 0.0
    missed_in_a_row: int = 1
    doubled: float = 0.0
    late_seconds: float = 30.0

    def times(self, chance: Random, began: float, minutes: int) -> list[float]:
        """The triggers of so many minutes from `began` (epoch seconds) on, in order. The first is never missed."""
        rule = RuleTriggers(self, chance)
        return sorted(at for number in range(minutes) for at in rule.of_minute(began + MINUTE_SECONDS * number))


class RuleTriggers:
    """The triggers of one rule, minute after minute. The first is never missed."""

    def __init__(self, model: TriggerModel, chance: Random) -> None:
        self._model, self._chance = model, chance
        self._offset = chance.uniform(0, MINUTE_SECONDS) if model.offset == "uniform" else model.offset
        self._missed_in_a_row, self._is_first = 0, True

    def of_minute(self, began: float) -> list[float]:
        """When (epoch seconds) the rule starts its Lambda for the minute that begins at `began`."""
        model, chance = self._model, self._chance
        is_missed = not self._is_first and (0 < self._missed_in_a_row < model.missed_in_a_row or (
            chance.random() < model.missed and not self._missed_in_a_row))
        self._missed_in_a_row, self._is_first = self._missed_in_a_row + 1 if is_missed else 0, False
        if is_missed:
            return []
        offset = chance.uniform(0, MINUTE_SECONDS) if self._offset == "jumping" else float(self._offset)
        late = chance.uniform(0, model.late_seconds) if chance.random() < model.late else 0.0
        times = [began + offset + late]
        if chance.random() < model.doubled:
            times.append(times[0] + chance.choice((0.0, chance.uniform(0, 20))))
        return times


# What each capability is held to. Two triggers in a row are missed at most.
MODELS = {
    **{f"at {second} s": TriggerModel(second) for second in (0, 8, 16, 41, 55)},
    "uniform": TriggerModel(),
    "jumping": TriggerModel("jumping"),
    "late": TriggerModel("jumping", late=0.3),
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
