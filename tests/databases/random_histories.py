"""Random lives of a fleet of servers in memory."""

from collections.abc import Callable

from chalicelib.engine import run as engine
from tests.databases.crash import Crash
from tests.databases.harness import REGIONS, World


def live(seed: int, steps: int = 120) -> World:
    """A random life: writes, stopped threads, hangs, cuts, promotions that die half-way. Nobody forces anything."""
    world = World(seed)
    world.fuse.meanwhile = lambda: _meanwhile(world)
    for region in REGIONS:
        world.scheduled(region, "watch")
    for _ in range(steps):
        _step(world)
        world.check()
    return world


def _step(world: World) -> None:
    world.chance.choices(_STEPS, weights=[weight for _, weight in _CHANCES])[0](world)


def _meanwhile(world: World) -> None:
    """Before an effect on the table anything may happen elsewhere, even another promotion; not within that."""
    if world.busy == 1 and world.chance.random() < 0.15:
        world.busy += 1
        try:
            _step(world)
        finally:
            world.busy -= 1


def _write(world: World) -> None:
    for model in world.models.values():
        if model.alive and not model.read_only and model.region not in world.open_by_itself:
            world.acked.append(model.write())


def _minute(world: World) -> None:
    world.wait(60.0 - world.now % 60)
    for region in world.chance.sample(REGIONS, 3):
        world.scheduled(region, "watch")
        world.scheduled(region, "heal")


def _replicate(world: World) -> None:
    world.wait(0.1)


def _disturb(world: World) -> None:
    model = world.models[world.chance.choice(REGIONS)]
    if model.source:
        model.stop(world.chance.choice(["", "IO", "SQL"]))


def _hang(world: World) -> None:
    model = world.models[world.chance.choice(REGIONS)]
    model.alive = not model.alive
    if model.alive and world.chance.random() < 0.3:
        model.restart()
        if not model.read_only and not world.primary.may_write(model.region):
            world.open_by_itself.add(model.region)


def _rejoin(world: World) -> None:
    """Somebody makes an old primary that has nothing more a replica again."""
    new = world.models[world.primary.region]
    for model in () if world.primary.promotion else world.models.values():
        whole = new.log[: len(model.log)] == model.log
        if model is not new and not model.source and model.read_only and model.alive and whole:
            model.change_source(model.world.host(new.region), 3306)


def _cut(world: World) -> None:
    way = (world.chance.choice(REGIONS), world.chance.choice(REGIONS))
    world.cut ^= {way} if way[0] != way[1] else set()


def _promote(world: World) -> None:
    left, world.busy = world.fuse.left, world.busy + 1
    world.fuse.after(world.chance.choice([*range(14), 10_000, 10_000]))
    try:
        world.promote(world.chance.choice(REGIONS), region=world.chance.choice(["", "", *REGIONS]))
    except Crash:
        world.check()
    finally:
        world.fuse.after(left)
        world.busy -= 1


def _fence(world: World) -> None:
    if world.chance.random() < 0.3:
        engine.run(world.operations.fence, world.site(world.primary.region), {"apply": True}, "hand")


_CHANCES: list[tuple[Callable[[World], None], int]] = [
    (_write, 30), (_replicate, 25), (_minute, 12), (_disturb, 6), (_hang, 5), (_cut, 6), (_promote, 8), (_fence, 2),
    (_rejoin, 4)]
_STEPS = [step for step, _ in _CHANCES]
