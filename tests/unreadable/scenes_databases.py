"""Fleets of databases in which each operation finds each kind of item that it reads."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from chalicelib.config import fleet
from chalicelib.databases.state import PRIMARY, PRIMARY_KEY, REPAIR, REPAIRS, PrimaryRecord, RepairState
from chalicelib.engine import run as engine
from chalicelib.engine import schema
from testing.fakes import MemoryTopic
from tests.databases.harness import EU, REGIONS, TOML, US, World, in_step
from tests.unreadable.stage import Scene, Stage, Tools, remember_alert


def _world(region: str) -> World:
    """A fleet in step that has agreed on its primary, and the alerts and repairs of a region before."""
    world = in_step()
    body = schema.encode(PrimaryRecord(EU, 1), PRIMARY, run_id="earlier")
    assert world.fuse._table.create(*PRIMARY_KEY, body)
    world.fleet = fleet.parse(TOML + f'[tunnels]\nprimary = "{EU}"\n')
    for each in REGIONS:
        world.wait(60 if each == EU else 0)
        world.scheduled(each, "watch")
    table = world.tables[region]
    for name in ("watch", "heal"):
        if table.get("alerts", f"databases.{name}") is None:
            remember_alert(table, f"databases.{name}")
    if table.get(*REPAIRS) is None:
        assert table.create(*REPAIRS, schema.encode(RepairState(1), REPAIR, run_id="earlier"))
    world.judged(region, 2, 2, 10)
    world.alerts[region] = MemoryTopic()
    world.wait(60)
    assert world.violations == []
    return world


def _state(world: World) -> Iterator[str]:
    for region, model in world.models.items():
        yield f"{region} is {'read-only' if model.read_only else 'open'}"
        yield f"{region} follows {model.source or 'nobody'}"
        if model.alive and model.source:
            yield f"{region} has {model.io} and {model.sql}"


def _stage(world: World, region: str, run: Any) -> Stage:
    topic, before = world.alerts[region], set(_state(world))
    assert isinstance(topic, MemoryTopic)
    return Stage({"shared": world.fuse._table.store, "local": world.tables[region].store}, run, lambda: topic.told,
                 lambda: [each for each in _state(world) if each not in before])


def _scheduled(name: str, region: str, trouble: Any = None) -> Any:
    def make(tools: Tools) -> Stage:
        world = _world(region)
        if trouble:
            trouble(world)

        event = {"detail-type": "Scheduled Event", "time": datetime.fromtimestamp(world.now, UTC).isoformat()}
        operation = getattr(world.operations, name)
        return _stage(world, region, lambda: engine.run(operation, world.site(region), event, "minute"))
    return make


def _asked(name: str, here: str, trouble: Any = None, **event: Any) -> Any:
    def make(tools: Tools) -> Stage:
        world = _world(here)
        world.forced = "force" in event
        if trouble:
            trouble(world)
        operation = getattr(world.operations, name)
        return _stage(world, here, lambda: engine.run(operation, world.site(here), event, "hand"))
    return make


def _opened(world: World) -> None:
    world.models[US].read_only = False


def _stopped(world: World) -> None:
    world.models[US].stop("SQL")


def _dead(world: World) -> None:
    """The primary was closed in its own region, which is known, and is gone."""
    assert engine.run(world.operations.fence, world.site(EU), {"apply": True}, "hand")["status"] == "done"
    world.models[EU].alive = False


def _gone(world: World) -> None:
    world.models[EU].alive = False


_PRIMARY = f"shared {'/'.join(PRIMARY_KEY)}"
SCENES = (
    Scene("databases.watch", "the primary", _scheduled("watch", EU)),
    Scene("databases.watch", "a replica that takes writes", _scheduled("watch", US, _opened),
          depends={_PRIMARY: (f"{US} is read-only",)}),
    Scene("databases.heal", "a thread that stands still", _scheduled("heal", US, _stopped), depends={
        # Whether it may be started, nobody knows without these.
        f"local {'/'.join(REPAIRS)}": (f"{US} has *",),
        "local tunnels/state": (f"{US} has *", "local databases/heal"),
        _PRIMARY: (f"{US} has *", "local databases/heal")}),
    Scene("databases.tune", "a replica", _asked("tune", US, _stopped, apply=True), by_hand=True),
    Scene("databases.fence", "the primary", _asked("fence", EU, apply=True), by_hand=True,
          depends={_PRIMARY: (f"{EU} is read-only", "shared databases/*")}),
    Scene("databases.promote", "a replica", _asked("promote", US, region=US, apply=True), by_hand=True,
          depends={_PRIMARY: ("*",)}, on_the_way=("* has *",)),
    Scene("databases.promote", "of a primary that was fenced and is gone",
          _asked("promote", US, _dead, region=US, apply=True), by_hand=True,
          depends={_PRIMARY: ("*",), f"shared databases/{EU}": ("*",)}, on_the_way=("* has *",)),
    Scene("databases.promote", "of a primary that is gone, at a loss",
          _asked("promote", US, _gone, region=US, force="burnt down", apply=True), by_hand=True,
          depends={_PRIMARY: ("*",)}, on_the_way=("* has *",)),
    Scene("databases.status", "of a replica", _asked("status", US), by_hand=True),
)
