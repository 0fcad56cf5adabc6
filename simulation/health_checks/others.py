"""People and AWS around a region in a rough world. They change, delete, refuse and hide what the operation needs."""

from typing import TYPE_CHECKING

import msgspec

from chalicelib.aws.store import Item
from chalicelib.health_checks import published
from chalicelib.health_checks.state import KEY
from testing.aws import denied

if TYPE_CHECKING:
    from simulation.health_checks.world import World

# In so many runs somebody changes a check, AWS refuses the target group or shows an empty one, the coordination table
# has lost what was published, and the region's state cannot be read.
_FOREIGN_SHARE, _REFUSED_SHARE, _EMPTY_SHARE, _UNPUBLISHED_SHARE, _UNREADABLE_SHARE = 0.08, 0.003, 0.003, 0.02, 0.003


class Others:
    """Their acts on `world`, by its chance."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self._hidden: Item | None = None

    def delete_check(self) -> None:
        """Somebody deletes a check in Route 53. A fixed one is lost as a host would be, and its status stays."""
        world = self.world
        if world.outage or world.tally.recovering or not world.route53.checks:
            return
        check = world.route53.checks[world.chance.choice(sorted(world.route53.checks))]
        if check.config["Type"] == "CALCULATED":
            if world.chance.random() < 0.5:
                return
        elif world.names[check.config["IPAddress"]] in world.tally.fixed_checks:
            if world.room() <= 0:
                return
            world.losses.append(world.now)
        world.tally.deleted += 1
        self._delete(check.id)

    def interfere(self) -> None:
        """Others have their hands in the region just when a run begins."""
        world = self.world
        if world.unheard in world.route53.checks and world.chance.random() < 0.5:
            self._delete(world.unheard)
        world.unheard = ""
        if world.route53.checks and world.chance.random() < _FOREIGN_SHARE:
            self._foreign_change()
        is_refused = world.chance.random() < _REFUSED_SHARE
        world.aws.denials = {"elb targets": denied("TargetGroupNotFound")} if is_refused else {}
        key = (published.PK, world.context.region)
        if world.chance.random() < _UNPUBLISHED_SHARE and key in world.shared.store.items:
            world.shared.store.remove(*key)
        self._hide_state()

    def hide_hosts(self) -> bool:
        """The target group is empty for now. Whether it is."""
        is_empty = self.world.chance.random() < _EMPTY_SHARE
        if is_empty:
            self.world.aws.target_groups["hosts"] = {}
        return is_empty

    @property
    def is_state_hidden(self) -> bool:
        """Whether the state of the region cannot be read now."""
        return self._hidden is not None

    def give_back_state(self) -> None:
        """Somebody puts the state back as it was."""
        if self._hidden is not None:
            self.world.local.store.put(self._hidden, "", None)
            self._hidden = None

    def _hide_state(self) -> None:
        found = self.world.local.store.items.get(KEY)
        if found and self._hidden is None and self.world.chance.random() < _UNREADABLE_SHARE:
            self._hidden = found[0]
            damaged = msgspec.structs.replace(self._hidden, version=self._hidden.version + 1, body={})
            self.world.local.store.put(damaged, "", None)

    def _foreign_change(self) -> None:
        """Somebody changes what does no harm, such as a name: the check has another version."""
        checks, chance = self.world.route53.checks, self.world.chance
        ids = sorted(checks)
        parents = [id for id in ids if checks[id].config["Type"] == "CALCULATED"]
        id = chance.choice(parents if parents and chance.random() < 0.5 else ids)
        checks[id] = msgspec.structs.replace(checks[id], version=checks[id].version + 1)

    def _delete(self, id: str) -> None:
        world = self.world
        if world.route53.checks[id].config["Type"] == "CALCULATED":
            world.checkers.deleted_parent()
        else:
            world.checkers.deleted(world.numbers[id])
        world.route53.lose_health_check(id)
        world.count = len(world.route53.checks)
