"""Route 53's health checkers from a region's view, with a check's status after a change of its target or its host.

Of a host that starts or stops answering, the status follows after a number of probes. AWS does not document the status
right after a change of the *target*, so there are four models. In the first the old status carries over until the
probes of the new target overrule it. In the second it resets to healthy, in the third to unhealthy. In the adversarial
model it is the most harmful at each moment until the check has settled. Old and new children of a calculated check then
count at the same time.
"""

from collections.abc import Callable, Collection
from random import Random
from typing import Any, Literal

from chalicelib.config.declared import HealthChecks

Model = Literal["carries over", "reset healthy", "reset unhealthy", "adversarial"]
MODELS: tuple[Model, ...] = ("carries over", "reset healthy", "reset unhealthy", "adversarial")

# For so long Route 53 may act on what was said before (nothing says so; the product takes it for granted as well).
PROPAGATION_SECONDS = 60
# From the last probe to the verdict: time-outs of the probe (4 + 2 + 2 s) and the sum over checkers and children.
_LAST_PROBE = 9.5



def settling_seconds(settings: HealthChecks) -> int:
    """Seconds after which a check's status can only speak of its new target."""
    return PROPAGATION_SECONDS + (settings.failures + 1) * settings.interval


Later = Callable[[float, Callable[..., None], Any], None]


class Probe:
    """One check as Route 53 carries it out."""

    def __init__(self) -> None:
        self.address = self.token = ""
        self.status = True
        self.truth: bool | None = None
        self.target = self.flip = 0
        self.wild = 0.0


class Checkers:
    """All checks of a region and its parent. `answers(address, token)` asks the host. `changed()` is told."""

    def __init__(self, model: Model, settings: HealthChecks, chance: Random, later: Later,
                 answers: Callable[[str, str], bool], changed: Callable[[], None]) -> None:
        self.model, self.settings, self.chance = model, settings, chance
        self.later, self.answers, self.changed = later, answers, changed
        self.now = 0.0
        self.probes: dict[int, Probe] = {}
        self.lists: list[tuple[tuple[int, ...], int]] = []
        self._version = 0

    def point(self, number: int, address: str, token: str) -> None:
        """A check is made or gets another target. Route 53 acts on it some time within a minute."""
        probe = self.probes.setdefault(number, Probe())
        probe.target += 1
        delay = self._delay()
        if self.model == "adversarial":
            # In the decision's own words: the sum of three numbers may differ from theirs by a rounding.
            probe.wild = self.now + settling_seconds(self.settings)
            self.later(probe.wild, self._tamed, None)
        self.later(self.now + delay, self._pointed, (number, address, token, probe.target))
        self.changed()

    def judge_by(self, children: Collection[int], threshold: int) -> None:
        """The parent is made or gets other children, some time within a minute."""
        self._version += 1
        new = (tuple(children), threshold)
        if self.model == "adversarial" or not self.lists:
            self.lists.append(new)
        self.later(self.now + (self._delay() if self.lists else 0), self._judged, (new, self._version))
        self.changed()

    def deleted(self, number: int) -> None:
        """A check is deleted. What a calculated check makes of it is not documented, so each model has its own idea."""
        probe = self.probes[number]
        probe.target, probe.flip, probe.wild = probe.target + 1, probe.flip + 1, 0.0
        probe.address = probe.token = ""
        if self.model != "carries over":
            probe.status = self.model == "reset healthy"
        self.changed()

    def deleted_parent(self) -> None:
        """The parent is deleted: there is no verdict until there is another one."""
        self._version += 1
        self.lists = []
        self.changed()

    def touched(self, address: str) -> None:
        """The host that answers at `address` has changed."""
        for number, probe in self.probes.items():
            if probe.address == address and address:
                self._follow(number, probe)

    def reads(self, number: int) -> bool:
        """The read status of a check. The adversary always says healthy."""
        probe = self.probes[number]
        return probe.status or probe.wild > self.now

    def verdict(self) -> tuple[bool, bool]:
        """The region's result at its worst and at its best. The two differ for the adversary only."""
        worst, best = True, False
        for children, threshold in self.lists:
            low = high = 0
            for number in children:
                probe = self.probes[number]
                wild = probe.wild > self.now
                low += probe.status and not wild
                high += probe.status or wild
            worst &= low >= threshold
            best |= high >= threshold
        return worst, best

    def strangers(self, known: Callable[[str, str], bool]) -> int:
        """How many checks are answered for by somebody who is not the host that they are to ask."""
        return sum(self.answers(probe.address, probe.token) and not known(probe.address, probe.token)
                   for probe in self.probes.values() if probe.address)

    def _delay(self) -> float:
        return PROPAGATION_SECONDS if self.model == "adversarial" else self.chance.uniform(1, PROPAGATION_SECONDS)

    def _tamed(self, _: object) -> None:
        self.changed()

    def _pointed(self, what: tuple[int, str, str, int]) -> None:
        number, address, token, target = what
        probe = self.probes[number]
        if target == probe.target:
            probe.address, probe.token, probe.truth = address, token, None
            if self.model.startswith("reset"):
                probe.status = self.model == "reset healthy"
                self.changed()
            self._follow(number, probe)

    def _judged(self, what: tuple[tuple[tuple[int, ...], int], int]) -> None:
        new, version = what
        if version == self._version:
            self.lists = [new]
            self.changed()

    def _follow(self, number: int, probe: Probe) -> None:
        """Lets the status follow what the host answers now, after as many probes as it takes."""
        truth = self.answers(probe.address, probe.token)
        if truth == probe.truth:
            # What goes on answering as before does not begin anew to be counted.
            return
        probe.truth = truth
        probe.flip += 1
        if truth != probe.status:
            self.later(self.now + self._probing(truth), self._flipped, (number, truth, probe.flip))

    def _flipped(self, what: tuple[int, bool, int]) -> None:
        number, status, flip = what
        probe = self.probes[number]
        if flip == probe.flip:
            probe.status = status
            self.changed()

    def _probing(self, healthy: bool) -> float:
        interval, rest = self.settings.interval, (self.settings.failures - 1) * self.settings.interval
        if self.model == "adversarial":
            return rest + interval + (0 if healthy else _LAST_PROBE)
        # Healthy as soon as 18% of the checkers say so, unhealthy when 82% do; they ask at any time of the interval.
        spread = self.chance.uniform(0.1, 0.5) if healthy else self.chance.uniform(0.7, 1)
        return rest + spread * interval + self.chance.uniform(0, 2 if healthy else _LAST_PROBE)
