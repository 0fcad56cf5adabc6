"""Items that cannot be read: what they stand for is left alone, people are told which they are, all else goes on."""

from typing import Any

import pytest

from chalicelib.databases.state import MEMORY, PRIMARY_KEY, REPAIRS, REPORT, PrimaryRecord, body
from chalicelib.engine import run as engine
from chalicelib.engine import schema
from testing.fakes import MemoryTopic
from tests.databases.harness import AP, EU, REGIONS, US, World, in_step

BODIES: dict[str, Any] = {
    "empty": {}, "before-1.0": {"region": EU, "at": 1.0, "minute": 3},
    "newer": {"schema": 99, "minute": {"at": 1}, "region": {}, "at": {}},
    "wrong types": {"schema": 1, "run_id": "x", "region": 7, "at": "x", "minute": [], "restarts": "x"},
    "unknown field": {"schema": 1, "run_id": "x", "lumps": 1},
}
bad_body = pytest.mark.parametrize("content", BODIES.values(), ids=BODIES.keys())


def put(table: Any, key: tuple[str, str], content: dict[str, Any]) -> None:
    item = table.get(*key)
    assert table.compare_and_set(item, content) if item else table.create(*key, content)


def shared(world: World) -> Any:
    return world.fuse.site(world.site(EU)).shared_store


def subjects(world: World, region: str) -> list[str]:
    topic = world.alerts[region]
    assert isinstance(topic, MemoryTopic)
    return [subject for subject, _ in topic.told]


def body_of(table: Any, key: tuple[str, str]) -> Any:
    return table.get(*key).body


def readable(table: Any, key: tuple[str, str]) -> bool:
    return bool(table.get(*key).body.get("run_id"))


@bad_body
def test_watch_with_an_unreadable_report_of_another_region_goes_on_everywhere(content: dict[str, Any]) -> None:
    world = in_step()
    world.wait(60)
    put(shared(world), ("databases", EU), content)
    for region in (US, AP):
        world.scheduled(region, "watch")
        assert subjects(world, region).count(f"UnreadableItem: databases/{EU}") == 1
    # Its own region replaces it, and it is over.
    world.wait(60)
    world.scheduled(EU, "watch")
    world.scheduled(US, "watch")
    assert f"Recovered: UnreadableItem: databases/{EU}" in subjects(world, US)
    assert world.violations == []


@bad_body
def test_watch_with_an_own_report_that_cannot_be_read_keeps_it_while_the_server_is_silent(
    content: dict[str, Any]
) -> None:
    world = in_step()
    world.models[EU].alive = False
    world.wait(60)
    put(shared(world), ("databases", EU), content)
    world.scheduled(EU, "watch")
    assert shared(world).get("databases", EU).body == content
    assert any("DatabaseUnreachable" in one for one in subjects(world, EU)) and world.violations == []


@bad_body
def test_watch_and_heal_with_an_unreadable_primary_neither_fence_nor_repair(content: dict[str, Any]) -> None:
    world = in_step()
    put(shared(world), PRIMARY_KEY, content)
    world.wait(60)
    world.models[US].read_only = False
    world.models[AP].stop("SQL")
    for region in REGIONS:
        world.scheduled(region, "watch")
        world.scheduled(region, "heal")
        assert "UnreadableItem: primary/current" in subjects(world, region)
    assert not world.models[US].read_only and world.models[AP].sql == "stopped"
    assert shared(world).get(*PRIMARY_KEY).body == content
    assert world.violations == []


@bad_body
@pytest.mark.parametrize("name", ["promote", "fence"])
def test_manual_change_with_an_unreadable_primary_is_refused_with_a_remedy(name: str, content: dict[str, Any]) -> None:
    world = in_step()
    put(shared(world), PRIMARY_KEY, content)
    answer = engine.run(getattr(world.operations, name), world.site(US), {"apply": True}, "hand")
    assert answer["status"] == "refused" and "aws dynamodb get-item" in answer["message"]
    assert not world.models[EU].read_only and shared(world).get(*PRIMARY_KEY).body == content


@bad_body
def test_status_with_unreadable_items_names_them(content: dict[str, Any]) -> None:
    world = in_step()
    put(shared(world), PRIMARY_KEY, content)
    put(shared(world), ("databases", AP), content)
    answer = engine.run(world.operations.status, world.site(US), {}, "hand")
    report = answer["plan"]["report"]
    assert len(report["unreadable"]) == 2 and set(report["regions"]) == {EU, US}


@bad_body
def test_promote_with_the_unreadable_report_of_a_silent_region_is_refused(content: dict[str, Any]) -> None:
    world = in_step()
    put(shared(world), ("databases", AP), content)
    world.models[AP].alive = False
    answer = world.promote(US, region=US)
    assert answer["status"] == "refused" and f"databases/{AP}" in answer["message"]
    world.forced = True
    assert world.promote(US, region=US, force="burnt down")["status"] == "done"
    assert world.violations == []


@bad_body
@pytest.mark.parametrize("region", REGIONS)
def test_promote_of_a_dead_primary_with_one_bad_report_succeeds(region: str, content: dict[str, Any]) -> None:
    world = in_step()
    world.models[EU].alive, world.forced = False, True
    put(shared(world), ("databases", region), content)
    answer = world.promote(US, region=US, force="burnt down")
    assert answer["status"] == "done" and not world.models[US].read_only
    assert answer["unreadable"] == (f"databases/{region} in the store: {unreadable_because(content)}",)


@bad_body
@pytest.mark.parametrize("region", [US, AP])
def test_promote_of_a_primary_that_was_fenced_and_died_with_another_s_bad_report_needs_no_force(
    region: str, content: dict[str, Any]
) -> None:
    world = in_step()
    assert engine.run(world.operations.fence, world.site(EU), {"apply": True}, "hand")["status"] == "done"
    world.models[EU].alive = False
    put(shared(world), ("databases", region), content)
    assert world.promote(US, region=US)["status"] == "done"
    assert not world.models[US].read_only and world.violations == []


def unreadable_because(content: dict[str, Any]) -> str:
    found = schema.decode(content, REPORT, schema.ItemKey("", "", ""))
    assert isinstance(found, schema.Unreadable)
    return found.because


@bad_body
def test_watch_with_an_unreadable_memory_begins_anew(content: dict[str, Any]) -> None:
    world = in_step()
    world.wait(60)
    put(world.tables[EU], MEMORY, content)
    world.scheduled(EU, "watch")
    assert readable(world.tables[EU], MEMORY)
    assert subjects(world, EU) == ["UnreadableItem: databases/watch"] and world.violations == []


@bad_body
def test_heal_with_unreadable_repairs_restarts_nothing(content: dict[str, Any]) -> None:
    world = in_step()
    world.models[US].stop("SQL")
    put(world.tables[US], REPAIRS, content)
    world.wait(60)
    world.scheduled(US, "heal")
    assert world.models[US].sql == "stopped" and body_of(world.tables[US], REPAIRS) == content
    assert subjects(world, US) == ["UnreadableItem: databases/heal"] and world.violations == []


def test_promote_whose_term_becomes_unreadable_in_the_middle_stops() -> None:
    world = in_step()
    plan = world.operations.promote.decide(*observed(world))
    put(shared(world), PRIMARY_KEY, BODIES["newer"])
    actions = [action for action in plan.actions if action.kind == "set-writable"]
    with pytest.raises(Exception, match="has become unreadable"):
        world.operations.promote.act["set-writable"](world.site(US), observed(in_step())[1], actions)
    assert world.models[US].read_only


def observed(world: World) -> Any:
    from chalicelib.databases.observe import RegionAsked
    from chalicelib.engine.operation import Request

    request = Request("manual", int(world.now), RegionAsked(US), apply=True, run_id="one")
    return world.operations.promote.observe(world.site(US), request), request


def test_written_items_say_their_schema() -> None:
    assert body(PrimaryRecord(EU))["schema"] == 1
