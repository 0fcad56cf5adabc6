"""A region that loses as many fixed checks at once as are promised to be borne, as soon as that may happen again.

Worlds of chance come upon such a moment now and then. Here there is nothing else. They end in all possible ways. Hosts
get terminated, drain, or die with their target group knowing it or not, and the region fails in between.
"""

from functools import partial

from simulation.health_checks.tally import Verdict
from simulation.health_checks.world import Machine, Plot, World


def lived(plot: Plot) -> Verdict:
    """One world, from its seed to its result."""
    return (HarshWorld if plot.harsh else World)(plot).run()


class HarshWorld(World):
    """The same region, with somebody who knows who its fixed checks are."""

    def _trouble(self) -> None:
        luck = self.chance.random()
        if luck < 0.02:
            self._fail()
        elif luck < 0.07:
            self._swell()
        elif self.room() >= 2 or luck < 0.2:
            self._strike()
        self._at(self.now + self.chance.uniform(5, 120), self._trouble)

    def _strike(self) -> None:
        fate = self.chance.choice((self._vanish, self._drain, self._decay, self._decay_unseen))
        for machine in self._anchored()[: max(0, self.room())]:
            self.losses.append(self.now)
            self._at(self.now + self.chance.uniform(1, 400), self._arrive)
            fate(machine)

    def _anchored(self) -> list[Machine]:
        fixed_checks = [self.machines[id] for id in sorted(self.tally.fixed_checks) if id in self.machines]
        living = [one for one in fixed_checks if one.alive and not one.draining]
        return self.chance.sample(living, len(living))

    def _decay(self, machine: Machine) -> None:
        machine.lost = True
        self._die(machine)
        self._at(self.now + self.chance.uniform(100, 900), partial(self._vanish, machine))

    def _decay_unseen(self, machine: Machine) -> None:
        machine.hidden = True
        self._decay(machine)
