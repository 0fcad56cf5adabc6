"""Regions with health checks and routing in which each operation finds each kind of item that it reads."""

from collections.abc import Iterator
from functools import cache
from typing import Any

from chalicelib.engine import run as engine
from chalicelib.engine import schema
from chalicelib.health_checks import operations as health_checks
from chalicelib.health_checks import published
from chalicelib.routing import operations as routing
from chalicelib.routing.state import (
    HEALTH_PK,
    HEALTH_SCHEMA,
    REPORT_PK,
    REPORT_SCHEMA,
    EndpointReport,
    RegionHealth,
)
from testing.fakes import MemoryTable, MemoryTopic
from testing.route53 import FakeRoute53
from tests.health_checks.harness import Region
from tests.routing.harness import THREE, World
from tests.unreadable.stage import Scene, Stage, Tools, remember_alert

_CHANGES = ("create_health_check", "update_health_check", "delete_health_check", "change_record_sets")


def _asked(route53: FakeRoute53, before: int) -> list[str]:
    return [call for call in route53.requests[before:] if call in _CHANGES]


def _region() -> Region:
    """A region whose checks have gone round for a while."""
    region = Region()
    for _ in range(12):
        region.run(region.context)
    if region.local_store.get("alerts", "health_checks.rotate") is None:
        remember_alert(region.local_store, "health_checks.rotate")
    region.topic.told.clear()
    return region


def _turn(region: Region, run: Any) -> Stage:
    shared = region.context.shared_store
    assert isinstance(shared, MemoryTable)
    before = len(region.route53.requests)
    return Stage({"shared": shared.store, "local": region.local_store.store}, run, lambda: region.topic.told,
                 lambda: _asked(region.route53, before))


def _rotate(tools: Tools) -> Stage:
    region = _region()
    return _turn(region, lambda: region.run(region.context))


def _rotated(tools: Tools) -> Stage:
    region = _region()
    return _turn(region, lambda: engine.run(health_checks.STATUS, region.context, {}))


@cache
def served() -> World:
    """The regions' endpoints, which answer for all stages alike."""
    return World().with_buckets()


def close() -> None:
    """The endpoints are closed."""
    if served.cache_info().currsize:
        for region in THREE:
            served().kill(region)
        served.cache_clear()


_JUDGED = '[health_checks]\ntarget_groups = ["web"]\n'


def _world() -> World:
    """Each region has told of its checks and of what it saw."""
    world = served()
    world.shared, world.topic = MemoryTable(), MemoryTopic()
    world.tables = {region: MemoryTable() for region in THREE}
    world.route53.requests.clear()
    for region in THREE:
        body = schema.encode(published.RegionCheck(f"check-{region}"), published.SCHEMA, run_id="earlier")
        assert world.shared.create(published.PK, region, body)
        report = EndpointReport(int(world.now) - 60, ())
        assert world.shared.create(REPORT_PK, region, schema.encode(report, REPORT_SCHEMA, run_id="earlier"))
        health = RegionHealth(healthy_since=int(world.now) - 600)
        for table in world.tables.values():
            assert table.create(HEALTH_PK, region, schema.encode(health, HEALTH_SCHEMA, run_id="earlier"))
    for name in ("routing.drift", "routing.hold"):
        remember_alert(world.tables[THREE[0]], name)
    return world


def _routed(operation: Any, *, scheduled: bool = False, **event: Any) -> Any:
    def make(tools: Tools) -> Stage:
        world = _world()
        before = {region: dict(s3.objects) for region, s3 in world.s3.items()}

        def flags() -> Iterator[str]:
            for region, s3 in world.s3.items():
                for _, key in before[region].keys() ^ s3.objects.keys():
                    yield f"{'sets' if key else ''} {key}"
                s3.objects.clear()
                s3.objects.update(before[region])

        def run() -> Any:
            if scheduled:
                return world.fire(operation)
            return world.ask(operation, more=_JUDGED, **event)

        return Stage({"shared": world.shared.store, "local": world.tables[THREE[0]].store}, run,
                     lambda: world.topic.told, lambda: [*_asked(world.route53, 0), *flags()])
    return make


SCENES = (
    Scene("health_checks.rotate", "a minute", _rotate, depends={"local health-checks/state": ("*",)}),
    Scene("health_checks.status", "of a region", _rotated, by_hand=True),
    Scene("routing.plan", "with checks of regions", _routed(routing.PLAN), by_hand=True),
    Scene("routing.apply", "with checks of regions", _routed(routing.APPLY, apply=True), by_hand=True),
    Scene("routing.drift", "with checks of regions", _routed(routing.DRIFT, apply=True)),
    Scene("routing.evacuate", "a region", _routed(routing.EVACUATE, region=THREE[2], apply=True), by_hand=True),
    Scene("routing.restore", "a region", _routed(routing.RESTORE, region=THREE[2], apply=True), by_hand=True),
    Scene("routing.hold", "a minute", _routed(routing.HOLD, scheduled=True)),
    Scene("routing.status", "of all", _routed(routing.STATUS), by_hand=True),
)
